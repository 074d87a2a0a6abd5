"""`python -m kvtui`, `kvtui` and `kubectl virt`."""

from __future__ import annotations


def main() -> None:
    from kvtui.cli import run

    run()


if __name__ == "__main__":
    main()
