"""What does it cost, and what can it do? Bytes, operations, milliseconds, accuracy, and their table."""

from compresslab.measuring.comparison import compare
from compresslab.measuring.costs import count_macs, time_batches
from compresslab.measuring.report import Report, measure
from compresslab.measuring.statistics import Holm, McNemar, PairedDifference, verdict
from compresslab.measuring.tables import html_table, percent, percent_interval, text_table

# fmt: off
__all__ = [
    "Holm", "McNemar", "PairedDifference", "Report", "compare", "count_macs", "html_table", "measure",
    "percent", "percent_interval", "text_table", "time_batches", "verdict",
]
# fmt: on
