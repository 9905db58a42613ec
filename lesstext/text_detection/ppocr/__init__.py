"""PP-OCR's lines of text, found and read with the models in RapidOCR's wheel."""
