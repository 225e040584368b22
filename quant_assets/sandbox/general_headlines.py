"""Wording of simulated headlines on sectors and economies. What belongs here: sentences only.

Slots: sector, first and second (company names), percent, count, bank (central bank), index.
"""

SECTOR_POSITIVE = (
    "{sector} stocks rally, led by {first}",
    "{first} and {second} lead gains as {sector} shares advance",
    "Fund managers raise {sector} exposure to a two-year high",
    "Strong results at {first} lift the whole {sector} sector",
    "{sector} earnings beat expectations by {percent}%",
    "Why analysts are optimistic about {sector}: {first}, {second} and more",
    "Subsidies give {sector} companies such as {first} a boost",
    "{sector} shares hit record as order books improve",
    "Easing regulation favours {first} and {second}, brokers say",
    "Rebound in {sector} gathers strength",
)
SECTOR_NEGATIVE = (
    "{sector} stocks slump, dragged down by {first}",
    "{first} and {second} lead losses as {sector} shares slide",
    "Fund managers cut {sector} exposure on weak outlook",
    "Warning from {first} hits the whole {sector} sector",
    "{sector} earnings miss expectations by {percent}%",
    "Why analysts are worried about {sector}: {first}, {second} and more",
    "Tariff threat hurts {sector} companies such as {first}",
    "{sector} shares fall to a {count}-month low on demand fears",
    "Tougher rules threaten {first} and {second}, brokers warn",
    "Sell-off in {sector} deepens",
)
SECTOR_NEUTRAL = (
    "{sector} week ahead: {first} and {second} in focus",
    "{sector} funds see little net flow",
    "Comparing {first} with {second}: two ways into {sector}",
    "{sector} shares mixed before earnings season",
    "How {sector} valuations stack up against history",
    "Index review leaves {sector} weights unchanged",
)
ECONOMY_POSITIVE = (
    "Stocks climb as inflation cools more than expected",
    "{index} gains {percent}% on hopes for lower rates",
    "Payrolls beat forecasts, easing recession fears",
    "Consumer confidence improves for the {count}th month",
    "Factory orders rebound, pointing to stronger growth",
    "Retail sales rise {percent}%, topping estimates",
    "{bank} signals confidence in a soft landing",
    "Bond yields fall, lifting growth shares",
    "Jobless claims drop to a {count}-month low",
    "Economy grows faster than first estimated",
    "Global fund flows turn positive as risk appetite returns",
    "Oil retreats, offering relief to consumers",
    "Housing starts jump as mortgage rates ease",
    "{index} closes at a record high",
    "Trade deal hopes boost exporters",
)
ECONOMY_NEGATIVE = (
    "Stocks sink as inflation runs hotter than expected",
    "{index} drops {percent}% on fears of higher rates",
    "Payrolls miss forecasts, stoking recession fears",
    "Consumer confidence slumps to a {count}-month low",
    "Factory orders plunge, pointing to weaker growth",
    "Retail sales fall {percent}%, missing estimates",
    "{bank} warns of persistent inflation risks",
    "Bond yields spike, hitting growth shares",
    "Jobless claims jump to a {count}-month high",
    "Economy shrinks more than first estimated",
    "Investors flee risky assets as volatility surges",
    "Oil surges, squeezing consumers",
    "Housing starts tumble as mortgage rates rise",
    "{index} suffers worst day in {count} months",
    "Trade tensions weigh on exporters",
)
ECONOMY_NEUTRAL = (
    "{bank} holds rates steady, as expected",
    "{bank} minutes show officials divided on next step",
    "Markets await {bank} decision",
    "Week ahead: inflation, payrolls and {bank} speakers",
    "{index} ends little changed in quiet trading",
    "Treasury auction draws average demand",
    "Economists leave growth forecasts unchanged",
    "Dollar steady before inflation data",
    "What the yield curve says now",
    "Trading to close early before the holiday",
)
ECONOMY_DETAILS = (
    "Economists had expected a smaller move.",
    "Traders now look to the next {bank} meeting.",
    "Volume was {percent}% above its monthly average.",
    "The figures are subject to revision.",
    "Strategists said positioning remained cautious.",
)
SECTOR_DETAILS = (
    "{first} was among the most active names.",
    "{first} and {second} account for a large share of the sector.",
    "The sector has moved {percent}% over {count} weeks.",
    "Brokers expect the trend to continue into next month.",
)
ECONOMIES = {
    "us": ("the Federal Reserve", "S&P 500"),
    "kr": ("the Bank of Korea", "KOSPI"),
}
