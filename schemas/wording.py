"""The words in which rules are told: data, English and French side by side. `schemas.telling` puts them together."""

from __future__ import annotations

from typing import Final, Literal

Language = Literal["en", "fr"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "fr")

Both = tuple[str, str]
"""The same in English and in French."""

EVENTS: Final[dict[str, tuple[Both, Both, Both]]] = {
    "checkout": (("checkout", "passage en caisse"), ("checkouts", "passages en caisse"), ("a checkout", "un passage en caisse")),
    "coupon-redemption": (
        ("coupon redemption", "utilisation de coupon"),
        ("coupon redemptions", "utilisations de coupon"),
        ("a coupon redemption", "une utilisation de coupon"),
    ),
    "email-send": (("email sent", "e-mail envoyé"), ("emails sent", "e-mails envoyés"), ("an email sent", "un e-mail envoyé")),
    "email-open": (("email open", "ouverture d'e-mail"), ("email opens", "ouvertures d'e-mail"), ("an email open", "une ouverture d'e-mail")),
    "email-click": (("email click", "clic dans un e-mail"), ("email clicks", "clics dans un e-mail"), ("an email click", "un clic dans un e-mail")),
    "points": (
        ("points movement", "mouvement de points"),
        ("points movements", "mouvements de points"),
        ("a points movement", "un mouvement de points"),
    ),
    "visit": (("visit", "visite"), ("visits", "visites"), ("a visit", "une visite")),
    "custom": (
        ('"{name}" event', "événement « {name} »"),
        ('"{name}" events', "événements « {name} »"),
        ('a "{name}" event', "un événement « {name} »"),
    ),
}
"""One, several, and one with its article."""

FEMININE: Final = ("coupon-redemption", "email-open", "visit")
"""The events that are feminine in French."""

FIELDS: Final[dict[str, Both]] = {
    "total": ("total", "total"),
    "discount": ("discount", "remise"),
    "value": ("value", "valeur"),
    "receipt_id": ("receipt", "ticket"),
    "store_id": ("store", "magasin"),
    "channel": ("channel", "canal"),
    "kind": ("kind", "nature"),
    "currency": ("currency", "devise"),
    "payment_method": ("payment method", "moyen de paiement"),
    "points_earned": ("points earned", "points gagnés"),
    "points": ("points", "points"),
    "collected": ("points collected", "points collectés"),
    "spent": ("points spent", "points dépensés"),
    "coupon_ids": ("coupons", "coupons"),
    "coupon_id": ("coupon", "coupon"),
    "campaign_id": ("campaign", "campagne"),
    "message_id": ("message", "message"),
    "reward_id": ("reward", "récompense"),
    "hour": ("hour", "heure"),
    "weekday": ("day of the week", "jour de la semaine"),
    "items.product_id": ("product", "produit"),
    "items.category": ("category", "catégorie"),
    "items.department": ("department", "rayon"),
    "items.brand": ("brand", "marque"),
    "items.quantity": ("quantity", "quantité"),
    "items.amount": ("item amount", "montant d'article"),
    "items.discount": ("item discount", "remise d'article"),
}
"""Fields of events; what is not here is told by its own name."""

ATTRIBUTES: Final[dict[str, Both]] = {
    "birth_date": ("the birth date", "la date de naissance"),
    "gender": ("the gender", "le genre"),
    "location": ("the location", "la position"),
    "city": ("the city", "la ville"),
    "region": ("the region", "la région"),
    "postal_code": ("the postal code", "le code postal"),
    "country": ("the country", "le pays"),
    "card_number": ("the card number", "le numéro de carte"),
    "card_since": ("the card's date", "la date de la carte"),
    "occupation": ("the occupation", "la profession"),
    "income_band": ("the income band", "la tranche de revenu"),
    "household_size": ("the household size", "la taille du foyer"),
    "marital_status": ("the marital status", "la situation familiale"),
    "education": ("the education", "le niveau d'études"),
    "housing": ("the housing", "le logement"),
    "consent": ("the consent", "le consentement"),
    "tags": ("the list of tags", "la liste d'étiquettes"),
    "age": ("the age", "l'âge"),
    "birthday_in_days": ("the number of days to the birthday", "le nombre de jours avant l'anniversaire"),
}
"""Attributes of profiles; what the tenant has declared is told by its own name."""

MEASURES: Final[dict[str, Both]] = {
    "count": ("the number of {events}", "le nombre de {events}"),
    "sum": ("the sum of {field} over {events}", "la somme de {field} sur les {events}"),
    "avg": ("the average {field} of {events}", "la moyenne de {field} des {events}"),
    "min": ("the smallest {field} of {events}", "le plus petit {field} des {events}"),
    "max": ("the largest {field} of {events}", "le plus grand {field} des {events}"),
    "distinct": ("the number of different values of {field} over {events}", "le nombre de valeurs différentes de {field} sur les {events}"),
    "favourite": ("the most frequent {field} of {events}", "la valeur la plus fréquente de {field} des {events}"),
    "ratio": ("the ratio of {numerator} to {denominator}", "le rapport entre {numerator} et {denominator}"),
}
DAYS: Final[dict[str, tuple[Both, Both]]] = {
    "days_since_first": (
        ("the number of days since the first {event}", "le nombre de jours depuis le premier {event}"),
        ("the number of days since the first {event}", "le nombre de jours depuis la première {event}"),
    ),
    "days_since_last": (
        ("the number of days since the last {event}", "le nombre de jours depuis le dernier {event}"),
        ("the number of days since the last {event}", "le nombre de jours depuis la dernière {event}"),
    ),
}
"""Since an event that is masculine in French, or feminine."""
LEAST: Final[Both] = (" (if the latter is at least {value})", " (si ce dernier atteint au moins {value})")

COUNTS: Final[dict[str, Both]] = {
    "eq": ("exactly {value} {events}", "exactement {value} {events}"),
    "ne": ("any number but {value} of {events}", "un nombre autre que {value} de {events}"),
    "gt": ("more than {value} {events}", "plus de {value} {events}"),
    "gte": ("at least {value} {events}", "au moins {value} {events}"),
    "lt": ("fewer than {value} {events}", "moins de {value} {events}"),
    "lte": ("at most {value} {events}", "au plus {value} {events}"),
    "between": ("between {low} and {high} {events}", "entre {low} et {high} {events}"),
    "in": ("exactly {value} {events}", "exactement {value} {events}"),
    "not_in": ("any number but {value} of {events}", "un nombre autre que {value} de {events}"),
    "exists": ("any number of {events}", "un nombre quelconque de {events}"),
}
"""How many events, by operator."""

IS: Final[dict[str, Both]] = {
    "eq": ("is {value}", "vaut {value}"),
    "ne": ("is other than {value}", "diffère de {value}"),
    "gt": ("is more than {value}", "dépasse {value}"),
    "gte": ("is at least {value}", "atteint au moins {value}"),
    "lt": ("is less than {value}", "reste en dessous de {value}"),
    "lte": ("is at most {value}", "ne dépasse pas {value}"),
    "between": ("is between {low} and {high}", "se situe entre {low} et {high}"),
    "in": ("is {value}", "vaut {value}"),
    "not_in": ("is other than {value}", "diffère de {value}"),
    "contains": ("contains {value}", "contient {value}"),
    "starts_with": ("begins with {value}", "commence par {value}"),
    "exists": ("is known", "est connu"),
    "exists not": ("is not known", "n'est pas connu"),
    "older_than": ("is at least {value} ago", "remonte à au moins {value}"),
    "within_last": ("is less than {value} ago", "remonte à moins de {value}"),
}
"""What is said of a value, by operator."""

WHERE: Final[Both] = (" where {filters}", " où {filters}")
AND: Final[Both] = (" and ", " et ")
OR: Final[Both] = (" or ", " ou ")
YES: Final[Both] = ("yes", "oui")
NO: Final[Both] = ("no", "non")

CALENDAR: Final[dict[str, Both]] = {
    "today": (" today", " aujourd'hui"),
    "this_week": (" this week", " cette semaine"),
    "this_month": (" this month", " ce mois-ci"),
    "last_month": (" last month", " le mois dernier"),
    "this_quarter": (" this quarter", " ce trimestre"),
    "this_year": (" this year", " cette année"),
    "last_year": (" last year", " l'année dernière"),
}
MONTHS: Final[tuple[Both, ...]] = (
    ("January", "janvier"), ("February", "février"), ("March", "mars"), ("April", "avril"), ("May", "mai"), ("June", "juin"),
    ("July", "juillet"), ("August", "août"), ("September", "septembre"), ("October", "octobre"), ("November", "novembre"), ("December", "décembre"),
)  # fmt: skip
IN_MONTH: Final[Both] = (" in {month}", " en {month}")
SINCE: Final[Both] = (" from {start} on", " à partir de {start}")
BEFORE: Final[Both] = (" before {end}", " avant {end}")
BETWEEN: Final[Both] = (" from {start} on and before {end}", " à partir de {start} et avant {end}")

UNITS: Final[dict[str, tuple[Both, Both]]] = {
    "year": (("year", "an"), ("years", "ans")),
    "month": (("month", "mois"), ("months", "mois")),
    "day": (("day", "jour"), ("days", "jours")),
    "hour": (("hour", "heure"), ("hours", "heures")),
    "minute": (("minute", "minute"), ("minutes", "minutes")),
    "second": (("second", "seconde"), ("seconds", "secondes")),
}
LAST: Final[dict[str, tuple[Both, Both]]] = {
    "year": ((" in the last year", " au cours de la dernière année"), (" in the last {n} years", " au cours des {n} dernières années")),
    "month": ((" in the last month", " au cours du dernier mois"), (" in the last {n} months", " au cours des {n} derniers mois")),
    "day": ((" in the last day", " au cours des dernières 24 heures"), (" in the last {n} days", " au cours des {n} derniers jours")),
    "hour": ((" in the last hour", " au cours de la dernière heure"), (" in the last {n} hours", " au cours des {n} dernières heures")),
    "minute": ((" in the last minute", " au cours de la dernière minute"), (" in the last {n} minutes", " au cours des {n} dernières minutes")),
    "second": ((" in the last second", " au cours de la dernière seconde"), (" in the last {n} seconds", " au cours des {n} dernières secondes")),
}
LAST_MIXED: Final[Both] = (" in the last {span}", " sur les derniers {span}")

NEAR: Final[Both] = ("within {km} km of {lat}, {lon}", "à {km} km au plus de {lat}, {lon}")
MEMBER: Final[Both] = ("member of {segment}", "membre de {segment}")
FOLLOWED: Final[Both] = ("{first}, followed by {then} within {within}", "{first}, avec {then} dans les {within} qui suivent")
NOT_FOLLOWED: Final[Both] = ("{first}, not followed by {then} within {within}", "{first}, sans {then} dans les {within} qui suivent")
RANKED: Final[dict[str, Both]] = {
    "desc": ("among the first {share} by {metric}, the greatest first", "parmi les {share} premiers selon {metric}, du plus grand au plus petit"),
    "asc": ("among the first {share} by {metric}, the smallest first", "parmi les {share} premiers selon {metric}, du plus petit au plus grand"),
}
