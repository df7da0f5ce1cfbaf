"""Sentences that the small vocabularies are trained on, and texts that are awkward to tokenize."""

SENTENCES = [
    "The doctor went to the store because the doctor was out of bread and milk.",
    "It's a pity that we'll never know what they'd have said; I don't, you won't, SHE'LL see.",
    "In 1999 there were 12345 people, 678 dogs and 90 cats. In 2024 there were 12345 more.",
    "  Indented text\n    goes deeper\n\nand then\n\n\ncomes back.\tTabs, too.\r\n",
    "for (int i = 0; i < 100; i++) { total += values[i]; }  // HTTPServer, CamelCase!!!",
    "naïve café, Ünïcödé, Straße, Ελληνικά, русский язык, 漢字かな交じり文, 한국어",
    "🙂🙂 👩‍👩‍👧 🎉 emoji go here 🙂🙂 … “quoted” — and don’t forget ½ of x²",
    "the cat sat on the mat; the cat sat on the hat; the rat sat on the cat.",
    "Attention heads attend: an induction head attends to the token after an earlier copy.",
]

TEXTS = [
    "",
    " ",
    "Hello world",
    " leading space",
    "trailing space ",
    "two  spaces   three    four",
    "12345 678 9 1234567",
    "line\nbreak\n\nblank\r\n  indented\ttab \n x",
    "It's we'll THEY'RE I'd don't SHE'LL can'T",
    "naïve café Ünïcödé Straße",
    "e\u0301 decomposed, e\u0301clair",
    "Ελληνικά русский язык",
    "漢字かな交じり文 한국어 123",
    "मनीष คน",
    "🙂👩‍👩‍👧 🎉🙂🙂",
    "x² ½ ٣٤ Ⅷ … — “quoted” don’t",
    "CamelCaseAndHTTPServer snake_case",
    "for(i=0;i<100;i++){total+=v[i];}//!!!\n",
    "a.b,c;d:e?f!g/h\\i|j~k`l^m$n+o<p>=q\n\n",
    "zqzq zqzq.",
    "the\u00a0cat\u3000sat\u2581here \u200b zero",
    "bell\u0007 escape\u001b[31m",
]
