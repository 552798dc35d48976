"""Report: every page, table and chart, made from plain values. Nothing here reads a model, an atlas file or a folder."""
