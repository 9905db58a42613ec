"""Objects on other machines: fetched whole, ahead or in parts, and asked again."""
