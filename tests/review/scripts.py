"""One caption in each of the scripts and kinds of signs that the project's own fonts have."""

SCRIPTS = {
    "english": "a girl under a cherry tree, (blue sky:1.2)",
    "accents": "Größe, naïve façade, Ångström, čeština, ğüşİı, x̂, e\u0301te\u0301",
    "greek": "Ένα κορίτσι κάτω από μια κερασιά",
    "cyrillic": "Девушка под вишнёвым деревом",
    "vietnamese": "Một cô gái dưới gốc cây anh đào",
    "japanese": "桜の木の下の女の子「カード」",
    "chinese": "樱花树下的女孩，蓝天白云",
    "korean": "벚꽃 나무 아래의 소녀",
    "arabic": "فتاة تحت شجرة الكرز (سماء) 123، لا شيء",
    "persian": "دختری زیر درخت گیلاس، پژمرده می\u200cایستد",
    "urdu": "ایک لڑکی چیری کے درخت کے نیچے کھڑی ہے",
    "hebrew": "נערה מתחת לעץ דובדבן, שָׁלוֹם",
    "hindi": "चेरी के पेड़ के नीचे एक लड़की, हिन्दी",
    "thai": "เด็กผู้หญิงใต้ต้นซากุระ",
    "emoji": "😀🤣🎨✨❤️ 👩\u200d🚀 👍🏽 🇯🇵 1️⃣",
    "signs": "a ≤ b × c ÷ d ≠ ∞ √ ½ € £ ¥ ₹ ♥ ♪ ★ → ① — “…”",
}
