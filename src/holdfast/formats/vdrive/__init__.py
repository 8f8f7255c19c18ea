"""Directories of a virtual drive server as they are stored, proven and signed.

Source: docs/spec/vdrive.md, sections 5, 6 and 14.4.
"""
