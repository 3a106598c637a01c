"""The pages with generated parts, one module each: from the measured JSON to the text."""
