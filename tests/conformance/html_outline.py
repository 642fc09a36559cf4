"""What a page of HTML consists of, for those that don't look at it."""

import collections
import html.parser


class Outline(html.parser.HTMLParser):
    """Headings in order, tags counted, and all text."""

    def __init__(self, page):
        super().__init__()
        self.headings, self.tags, self.text = [], collections.Counter(), ""
        self._heading = None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        if tag in ("h1", "h2", "h3"):
            self._heading = ""

    def handle_data(self, data):
        self.text += data
        if self._heading is not None:
            self._heading += data

    def handle_endtag(self, tag):
        if tag in ("h1", "h2", "h3"):
            self.headings.append(self._heading)
            self._heading = None
