"""How the tables of a virtual drive server came to be, step by step; see ``migrating``.

A step that was released is never changed. Within one version of the protocol steps only add.
"""
