"""A page's tags and text, as a browser would find them."""

from html.parser import HTMLParser

__all__ = ["Tags"]


class Tags(HTMLParser):
    """Every tag with its attributes, and the text in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data
