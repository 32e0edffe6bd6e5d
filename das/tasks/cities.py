"""Well-known cities whose names are one word, each with its country, continent and main language. Torch-free."""

from __future__ import annotations

#: Country, continent, language, cities.
_ROWS: tuple[tuple[str, str, str, str], ...] = (
    ("France", "Europe", "French", "Paris Lyon Marseille Toulouse Nantes Bordeaux Lille Grenoble"),
    ("Germany", "Europe", "German", "Berlin Hamburg Munich Cologne Frankfurt Stuttgart Leipzig Dresden"),
    ("Italy", "Europe", "Italian", "Rome Milan Naples Turin Palermo Genoa Bologna Florence"),
    ("Spain", "Europe", "Spanish", "Madrid Seville Malaga Zaragoza Valladolid Granada Toledo Salamanca"),
    ("Switzerland", "Europe", "German", "Zurich Basel Bern Lucerne"),
    ("Switzerland", "Europe", "French", "Geneva Lausanne Neuchatel Montreux"),
    ("Belgium", "Europe", "Dutch", "Antwerp Ghent Bruges Leuven"),
    ("Belgium", "Europe", "French", "Liege Namur Charleroi Mons"),
    ("Britain", "Europe", "English", "London Manchester Liverpool Birmingham Leeds Glasgow Edinburgh Bristol"),
    ("Poland", "Europe", "Polish", "Warsaw Krakow Gdansk Poznan Wroclaw Lublin Szczecin Katowice"),
    ("Russia", "Europe", "Russian", "Moscow Kazan Samara Voronezh"),
    ("Russia", "Asia", "Russian", "Novosibirsk Omsk Irkutsk Vladivostok"),
    ("Turkey", "Asia", "Turkish", "Ankara Izmir Bursa Antalya Konya Adana Trabzon Kayseri"),
    ("China", "Asia", "Chinese", "Beijing Shanghai Wuhan Chengdu Nanjing Tianjin Shenyang Harbin"),
    ("Japan", "Asia", "Japanese", "Tokyo Osaka Kyoto Nagoya Sapporo Fukuoka Hiroshima Sendai"),
    ("India", "Asia", "Hindi", "Delhi Lucknow Jaipur Bhopal"),
    ("India", "Asia", "Tamil", "Chennai Madurai Coimbatore Salem"),
    ("Iran", "Asia", "Persian", "Tehran Isfahan Shiraz Mashhad Kerman Yazd Qom Qazvin"),
    ("Iraq", "Asia", "Arabic", "Baghdad Basra Mosul Najaf"),
    ("Iraq", "Asia", "Kurdish", "Erbil Duhok Sulaymaniyah Halabja"),
    ("Egypt", "Africa", "Arabic", "Cairo Alexandria Luxor Aswan Giza Suez Ismailia Tanta"),
    ("Morocco", "Africa", "Arabic", "Casablanca Rabat Fez Marrakesh Tangier Agadir Meknes Essaouira"),
    ("Nigeria", "Africa", "Hausa", "Kano Kaduna Sokoto Katsina"),
    ("Nigeria", "Africa", "Yoruba", "Lagos Ibadan Abeokuta Ilorin"),
    ("Kenya", "Africa", "Swahili", "Nairobi Mombasa Kisumu Nakuru Eldoret Malindi Lamu Thika"),
    ("Canada", "Americas", "English", "Toronto Ottawa Calgary Vancouver"),
    ("Canada", "Americas", "French", "Montreal Quebec Gatineau Sherbrooke"),
    ("Mexico", "Americas", "Spanish", "Guadalajara Monterrey Puebla Tijuana Cancun Oaxaca Merida Acapulco"),
    ("Brazil", "Americas", "Portuguese", "Brasilia Salvador Recife Fortaleza Manaus Curitiba Belem Natal"),
    ("Peru", "Americas", "Spanish", "Lima Cusco Arequipa Trujillo Iquitos Piura Tacna Puno"),
    ("USA", "Americas", "English", "Chicago Boston Houston Dallas Seattle Denver Miami Atlanta"),
    ("Australia", "Oceania", "English", "Sydney Melbourne Brisbane Perth Adelaide Darwin Hobart Canberra"),
)

#: City -> attribute -> value.
CITIES: dict[str, dict[str, str]] = {
    city: {"Country": country, "Continent": continent, "Language": language}
    for country, continent, language, cities in _ROWS
    for city in cities.split()
}
