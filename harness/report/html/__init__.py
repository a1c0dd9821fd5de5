"""A study as one page: report.html, self-contained, with everything that its records hold to sort, plot and open."""

from harness.report.html.data import Group, page_data
from harness.report.html.page import REPORT_PAGE, render, render_waiting, write_page

__all__ = ["REPORT_PAGE", "Group", "page_data", "render", "render_waiting", "write_page"]
