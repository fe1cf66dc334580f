"""Words by which texts are told: words by which languages are known, and words of praise and blame with their strength.

The English strengths are VADER's own (Hutto and Gilbert 2014; the package vaderSentiment). The German, Spanish and
French ones below were written for this project, on VADER's scale of -4 to 4: the common words of reviews and
complaints, no more. A word stands for its inflected forms where it ends with an asterisk.
"""

from __future__ import annotations

STOP_WORDS = {
    "en": """the and is was are were it this that with for my you they have has had not but of to in on at very from i
        we be as so would your our will they're it's don't didn't can what when where how been just all there which
        a an""",
    "de": """der die das und ist war sind ich nicht mit für auf ein eine einen sehr es aber wir sie den dem zu von im
        auch noch nach bei wurde hat habe haben wird kein keine mein meine nur wie was ihr mir leider schon oder""",
    "es": """el la los las y es fue son no con para por un una muy pero que de en mi lo se me le su está han ha más
        como cuando todo este esta sin del al nos también ya hay nada estaba""",
    "fr": """le la les et est était sont ne pas avec pour un une très mais que de en mon ma je il elle nous vous des du
        au ce cette qui sur dans plus été j'ai c'est n'est tout jamais aux leur rien comme""",
    "it": """il lo gli della dei è sono non con per un una molto che ma di mi ho hanno questo questa nel alla più anche
        stato tutto sempre mai sul loro""",
    "nl": """de het een en is was niet met voor op heel erg ik maar van te aan mijn zijn heb heeft ook nog naar bij dit
        dat geen snel wordt""",
    "pt": """o os as é foi são não com para por um uma muito que mas de em meu minha eu ele está tem mais como quando
        tudo este esta sem do da ao também já nada chegou""",
}
# Words of shops, which short reviews are made of.
SHOP_WORDS = {
    "en": """order ordered delivery shipping quality product price size staff refund question service customer shop
        item fits""",
    "de": "lieferung bestellung versand qualität produkt preis größe rückgabe frage personal kundenservice ware",
    "es": "pedido envío entrega calidad producto precio talla devolución pregunta personal tienda artículo servicio",
    "fr": "commande livraison qualité produit prix taille retour question personnel magasin article vendeur",
    "it": "ordine consegna spedizione qualità prodotto prezzo taglia reso domanda personale negozio articolo",
    "nl": "bestelling levering verzending kwaliteit product prijs maat vraag personeel winkel artikel klantenservice",
    "pt": "pedido entrega envio qualidade produto preço tamanho devolução pergunta pessoal loja artigo",
}
# Letters that one of the languages has alone.
SIGNS = {"de": "äöüß", "es": "ñ¿¡", "fr": "œêù", "pt": "ãõ", "it": "ò"}

# Emoji that VADER does not know or has no strength for, as words that it knows.
EMOJI = {
    "👍": "good", "👏": "great", "🙌": "great", "🙏": "thanks", "💯": "excellent", "🔥": "great", "⭐": "good",
    "🤩": "love", "👎": "bad", "😡": "angry", "🤬": "hate", "😤": "angry", "🤮": "disgusting", "🤢": "disgusting",
    "💩": "crap", "🙄": "annoying", "😒": "annoying",
}  # fmt: skip

NEGATIONS = {
    "de": "nicht kein keine keinen keiner keinem nie niemals ohne weder kaum",
    "es": "no nunca jamás sin ni tampoco nada",
    "fr": "pas jamais sans ni aucun aucune guère n'est",
}
BOOSTERS = {
    "de": "sehr total extrem absolut wirklich richtig super besonders äußerst",
    "es": "muy super totalmente realmente demasiado bastante extremadamente",
    "fr": "très trop vraiment extrêmement totalement super tellement",
}
STRENGTHS = {
    "de": {
        3.0: """ausgezeichnet* hervorragend* perfekt* fantastisch* großartig* begeistert* traumhaft* liebe exzellent*
            genial*""",
        2.0: """gut gute guten guter gutes toll* schön* freundlich* zufrieden* empfehlen empfehlenswert schnell*
            hilfsbereit* klasse prima super gerne hochwertig* bequem* nett* kompetent* zuverlässig* danke günstig*
            passt lecker*""",
        1.0: "okay pünktlich* einfach* angenehm* praktisch* freue preiswert*",
        -1.0: "langsam* teuer* teure* warten schade leider umständlich* verwirrend* dünn* mittelmäßig*",
        -2.0: """schlecht* enttäuscht* enttäuschend* enttäuschung unfreundlich* kaputt* defekt* verspätet* verspätung
            ärgerlich* problem* fehler* falsch* mangelhaft* billig* beschädigt* unverschämt* reklamation überteuert*
            zerrissen* unhöflich* ärger""",
        -3.0: "schrecklich* furchtbar* katastroph* betrug* nutzlos* frechheit unbrauchbar* miserabel* grauenhaft* müll",
    },
    "es": {
        3.0: "excelente* perfecto* perfecta* fantástic* maravillos* genial* increíble* encanta* encantad* magnífic*",
        2.0: """bueno buena buenos buenas buen bien bonito* bonita* amable* contento* contenta* satisfech* recomiendo
            recomendable rápid* cómod* gracias barato* feliz calidad agradable* útil* atent*""",
        1.0: "correcto* correcta* puntual* sencill* práctic* aceptable* funciona",
        -1.0: "lento* lenta* caro cara caros caras tarde esperar lástima complicad* confus* regular fino*",
        -2.0: """mal malo mala malos malas decepcion* roto rota rotos rotas defectuos* retras* problema* error errores
            dañad* grosero* grosera* antipátic* queja* equivocad* incorrect* sucio* sucia*""",
        -3.0: "horrible* pésim* terrible* estafa* fatal* inútil* desastre* vergüenza asco basura",
    },
    "fr": {
        3.0: "excellent* parfait* fantastique* magnifique* génial* incroyable* adore* ravi* merveilleu*",
        2.0: """bon bonne bons bonnes bien beau belle aimable* content* satisfait* recommande* rapide* confortable*
            merci agréable* sympa* sérieux efficace* qualité heureu*""",
        1.0: "correct* ponctuel* simple* pratique* conforme*",
        -1.0: "lent* cher chère chers chères attendre attente dommage compliqu* confus* moyen*",
        -2.0: """mauvais* déçu* décevant* déception cassé* défectueu* retard* problème* erreur* abîmé* impoli*
            désagréable* mal faux sale*""",
        -3.0: "horrible* nul nulle terrible* arnaque* inutile* catastroph* honte* inadmissible* scandaleu*",
    },
}
