#!/usr/bin/env python3
"""Runs the package beside this file: a device client written from docs/protocol.md alone. See stranger/__main__.py."""

import pathlib
import runpy

runpy.run_path(str(pathlib.Path(__file__).with_suffix("")), run_name="__main__")
