"""The parts of the GPU benchmark; `running` runs them, `page` shows what they found."""
