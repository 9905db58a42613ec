"""The HTML report: one self-contained page that shows why each image stayed or went."""

from typing import TYPE_CHECKING

from lesstext import lazily

if TYPE_CHECKING:
    from lesstext.report.page import write_report

__all__ = ["write_report"]

__getattr__, __dir__ = lazily(__name__, {"lesstext.report.page": "write_report"})
