"""``python -m rtc_transport`` is ``rtc-transport``."""

from rtc_transport.cli import main

if __name__ == "__main__":
    main()
