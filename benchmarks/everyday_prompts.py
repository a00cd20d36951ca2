"""Print everyday prompts, one a line: what ``soradit train --component text_encoder --sentences`` is taught with.

Nouns, adjectives and verbs are those of wonderwords (``pip install wonderwords``); a third of the prompts is about
skies, in more words than captions use. The same seed prints the same prompts.
"""

import argparse
import itertools
import random

HOURS = """night, midnight, 2 am, the small hours, a moonlit night, nighttime, the dead of night, darkness, bedtime,
dawn, daybreak, first light, the crack of dawn, sunup, sunrise, early morning, morning, forenoon, noon, midday,
lunchtime, high noon, broad daylight, daytime, afternoon, late afternoon, golden hour, evening, sunset, sundown,
eventide, dusk, twilight, gloaming, nightfall, blue hour, a summer day, a winter day, an autumn evening, a spring
morning, moonlight, starlight, sunshine, sunlight, candlelight, rush hour, teatime, breakfast time"""
WEATHERS = """clear, cloudless, cloud-free, unclouded, spotless, fair, fine, sunny, bright, brilliant, radiant, hazy,
misty, foggy, cloudy, overcast, grey, gray, gloomy, dull, dreary, murky, leaden, bleak, sunless, somber, stormy, rainy,
wet, drizzly, thundery, tempestuous, windy, breezy, calm, peaceful, quiet, dramatic, ominous, threatening, menacing,
dark, black, pale, blue, azure, deep blue, indigo, violet, purple, pink, rosy, red, crimson, scarlet, orange, amber,
golden, gilded, burning, fiery, glowing, starry, starlit, moonlit, partly cloudy, changeable, mixed, cold, hot, snowy"""
SKIES = """sky, skies, heaven, heavens, sky above, firmament, horizon, sky over the sea, sky over the hills, weather,
day, evening sky, sora"""
CLOUDS = """clouds, cloud, puffy clouds, fleecy clouds, cotton wool clouds, cotton candy clouds, sheep clouds, cumulus,
cirrus, stratus, thunderheads, thunderclouds, storm clouds, rain clouds, wisps of cloud, mares' tails, mackerel sky,
fog, mist, haze, overcast, a blanket of cloud, a wall of cloud, white puffs, feathery clouds, dark clouds, fluff"""
LIGHTS = """stars, the milky way, the moon, a full moon, a crescent moon, a half moon, the sun, the rising sun, the
setting sun, the sinking sun, aurora, northern lights, polar lights, shooting stars, a meteor, lightning, a rainbow,
sun rays, twinkling lights, an afterglow, alpenglow"""
MOVES = """drift, float, wander, sail, race, rush, hurry, creep, crawl, glide, roll, are blown, are pushed, move, fly,
pass, travel, march"""
WAYS = """towards us, towards the camera, at the viewer, nearer, closer and closer, over our heads, away, away from us,
into the distance, to the horizon, farther and farther, slowly, quickly, fast, lazily, in the wind, across the sky"""
# Neither left nor right: to a teacher of everyday English they are much the same, and captions teach the difference.
SKY_FORMS = (
    "{weather} {sky}", "a {weather} {sky} at {hour}", "{weather} {hour}", "{hour}", "{clouds} at {hour}", "{clouds}",
    "{weather} {sky}, {clouds}", "{light} at {hour}", "{light} over a {weather} {sky}", "{weather}, {weather2} {sky}",
    "{clouds} {move} {way}", "{clouds} {move} {way} at {hour}", "{light}", "{weather} {sky} with {light}",
    "the {weather} {hour}", "a video of the {weather} {sky}", "time-lapse of {clouds}, {hour}", "{hour}, {weather}",
)  # fmt: skip
OTHER_FORMS = (
    "a {noun}", "{adjective} {noun}", "a {adjective} {noun} in the {noun2}", "a {noun} {verb}ing",
    "a photo of a {noun}", "{noun} and {noun2}", "a {noun} at {hour}", "people {verb} a {noun}", "{adjective}",
    "the {noun} is {adjective}", "a video of a {adjective} {noun}", "a {noun} {verb}ing in the {noun2}", "to {verb}",
)  # fmt: skip


def listed(text: str) -> list[str]:
    return [" ".join(item.split()) for item in text.split(",")]


def main() -> None:
    from wonderwords import RandomWord

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--about", choices=("skies", "others"), help="only these of the --count prompts")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    kinds = {"noun": "noun", "noun2": "noun", "adjective": "adjective", "verb": "verb"}
    words = {name: sorted(RandomWord().filter(include_categories=[kind])) for name, kind in kinds.items()}
    words |= {"hour": listed(HOURS), "weather": listed(WEATHERS), "weather2": listed(WEATHERS), "sky": listed(SKIES)}
    words |= {"clouds": listed(CLOUDS), "light": listed(LIGHTS), "move": listed(MOVES), "way": listed(WAYS)}
    prompts: dict[str, str] = {}
    for forms in itertools.cycle((SKY_FORMS, OTHER_FORMS, OTHER_FORMS)):
        if len(prompts) >= arguments.count:
            break
        prompt = draw.choice(forms).format(**{name: draw.choice(options) for name, options in words.items()})
        prompts.setdefault(prompt, "skies" if forms is SKY_FORMS else "others")
    print("\n".join(prompt for prompt, about in prompts.items() if arguments.about in (None, about)))


if __name__ == "__main__":
    main()
