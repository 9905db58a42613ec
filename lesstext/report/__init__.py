"""The HTML report: one self-contained page that shows why each image stayed or went."""

from lesstext.report.page import write_report

__all__ = ["write_report"]
