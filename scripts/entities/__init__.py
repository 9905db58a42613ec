"""Evidence for labels of entities: mentions that were read, and selectors."""
