"""The client of virtual drive servers: it trusts them with nothing but keeping bytes.

Source: docs/spec/vdrive.md, sections 4.3, 7, 9 and 14.7.
"""
