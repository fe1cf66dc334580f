"""Legal forms of some forty countries, as they end or open a firm's name, by what kind of firm they say it is.

Forms are written as `names.plain` leaves them: lower case, no accents, no dots ("S.p.A." is spa, "A/S" is as).
"""

# Kind -> forms that are hardly a word or a name of anything else, wherever they stand in a name.
_TELLING = {
    "limited": """ltd limited gmbh ggmbh mbh bvba sprl srl sarl eurl sasu spzoo sro dooel ood eood kft uab lda ltda
        eireli aps ivs pty pvt pte bhd sdn ehf osauhing wll fzco fze gesmbh besloten sociedade llc pllc cic
        ооо тоо тов еоод оод επε ικε""",
    "public": """plc inc incorporated corp corporation sapi kgaa oyj zrt nyrt aktiengesellschaft aktiebolag naamloze
        vennootschap jsc ojsc pjsc cjsc tbk sicav оао зао пао""",
    "partnership": "llp lllp kommanditgesellschaft ohg gbr commv vof",
    "association": "vzw asbl stichting",
}  # fmt: skip
# Forms that are words, initials or surnames, too: a form at an end of a name only.
_AT_ENDS = {
    "limited": "sl slu bv sp ou kk ug sc pt cv rl bt as dd ad doo sia zoo yk gk oy sti sirketi",
    "public": "sa sab sas ag se nv ab pc pa spa asa rt scpa αε оэ ао",
    "partnership": "kg lp hb kb is ks ans da gp snc scs sca ky",
    "association": "ev eg",
    "company": "co cie company companies compagnie compania cia",
}
_SPOKEN = {
    "limited": ("sp z oo", "s de rl", "sociedad limitada", "society limited", "haftungsbeschrankt"),
    "public": ("sa de cv", "s a de c v", "societe anonyme", "sociedad anonima", "societa per azioni", "anonim sirketi"),
}
# Written without spaces around them.
_JOINED = {
    "public": ("股份有限公司", "株式会社", "주식회사", "(주)", "㈱", "(株)"),
    "limited": ("有限责任公司", "有限責任公司", "有限公司", "有限会社", "合同会社", "유한회사", "㈲", "(有)", "בעמ"),
    "partnership": ("合名会社", "合資会社"),
}

TELLING: dict[str, str] = {form: kind for kind, forms in _TELLING.items() for form in forms.split()}
AT_ENDS: dict[str, str] = {form: kind for kind, forms in reversed(_AT_ENDS.items()) for form in forms.split()}
SPOKEN: dict[str, str] = {form: kind for kind, forms in _SPOKEN.items() for form in forms}
JOINED: dict[str, str] = {form: kind for kind, forms in _JOINED.items() for form in forms}
