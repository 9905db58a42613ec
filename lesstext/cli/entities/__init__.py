"""The commands under `lesstext entities`."""
