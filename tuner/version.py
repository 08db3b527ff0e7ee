"""The version of this code, which need not be that of an installed package: it is sent to clusters as files."""

VERSION = "0.1.0"
