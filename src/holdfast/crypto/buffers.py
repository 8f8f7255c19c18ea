"""The type of anything that holds bytes."""

Buffer = bytes | bytearray | memoryview
