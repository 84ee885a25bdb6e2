"""The report of a run: one page, its figures, and a methods paragraph.

Everything is read from files that a run leaves behind (`evidence`), drawn (`figures`), put into
words (`verdict`, `methods_text`) and onto a page (`page`). Equal files give an equal report.
"""
