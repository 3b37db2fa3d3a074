"""Torch files, changed entry by entry."""

import zipfile


def rezip(path, change, method=zipfile.ZIP_STORED):
    """Write an archive anew; change(name, content) may return other content, or None to drop it."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries:
            if (changed := change(name, content)) is not None:
                archive.writestr(name, changed)
    return path
