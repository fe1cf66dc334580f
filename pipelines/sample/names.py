"""Name lists of the synthetic retailer: given names with gender, nicknames, surnames, streets and mail domains.

The order of a list is its popularity: draws weigh a name by its rank, so that frequent names collide as real ones do.
About three hundred surnames are common United States surnames; the rarer rest is composed of two syllables
("Hartwell", "Oakridge").
"""

from __future__ import annotations

import numpy as np

MALE_GIVEN = tuple(
    """James Robert John Michael David William Richard Joseph Thomas Christopher Charles Daniel Matthew Anthony Mark
    Donald Steven Andrew Paul Joshua Kenneth Kevin Brian Timothy Ronald George Jason Edward Jeffrey Ryan Jacob Nicholas
    Gary Eric Jonathan Stephen Larry Justin Scott Brandon Benjamin Samuel Gregory Alexander Patrick Frank Raymond Jack
    Dennis Jerry Tyler Aaron Jose Adam Nathan Henry Zachary Douglas Peter Kyle Noah Ethan Jeremy Christian Walter Keith
    Austin Roger Terry Sean Gerald Carl Dylan Harold Jordan Jesse Bryan Lawrence Arthur Gabriel Bruce Logan Billy Joe
    Alan Juan Elijah Willie Albert Wayne Randy Mason Vincent Liam Roy Bobby Caleb Bradley Russell Lucas Philip Eugene
    Louis Johnny Marcus Victor Ernest Martin Craig Stanley Shawn Travis Leonard Curtis Nathaniel Isaac Derek Evan
    Antonio Carlos Luis Jesus Miguel Angel Diego Xavier Owen Connor Oscar Ivan Hector Ruben Sergio Mario Ricardo
    Eduardo Javier Fernando Manuel Omar Andre Malik Darius Terrence Cedric Maurice Clifford Leroy Theodore Oliver Leo
    Hugo Simon Wesley Spencer Clayton Garrett Dustin Brett Corey Casey Derrick Jared Cody Troy Ross Warren Glenn
    Herbert Frederick Ralph Norman Melvin Alvin Floyd Milton Edwin Francis Clarence Howard Raj Amit Wei Hiroshi Minh
    Tuan""".split()
)
FEMALE_GIVEN = tuple(
    """Mary Patricia Jennifer Linda Elizabeth Barbara Susan Jessica Karen Sarah Lisa Nancy Sandra Betty Ashley Emily
    Kimberly Margaret Donna Michelle Carol Amanda Melissa Deborah Stephanie Rebecca Sharon Laura Cynthia Dorothy Amy
    Kathleen Angela Shirley Emma Brenda Pamela Nicole Anna Samantha Katherine Christine Debra Rachel Carolyn Janet
    Maria Olivia Heather Helen Catherine Diane Julie Victoria Joyce Lauren Kelly Christina Ruth Joan Virginia Judith
    Evelyn Hannah Andrea Megan Cheryl Jacqueline Madison Teresa Abigail Sophia Martha Sara Gloria Janice Kathryn Ann
    Isabella Judy Charlotte Julia Grace Amber Alice Jean Denise Frances Danielle Marilyn Natalie Beverly Diana Brittany
    Theresa Kayla Alexis Doris Lori Tiffany Allison Erin Tina Monica Vanessa Leah Audrey Claire Sylvia Ellen Wendy Dawn
    Tracy Robin Valerie Veronica Carla Rosa Carmen Ana Lucia Elena Gabriela Daniela Adriana Paola Guadalupe Marisol
    Yolanda Esperanza Imani Aaliyah Latoya Tamika Keisha Ebony Jasmine Brianna Destiny Trinity Faith Hope Joy Paige
    Brooke Morgan Sydney Chloe Zoe Mia Ava Ella Lily Lucy Nora Hazel Violet Stella Ivy Ruby Pearl Opal Edith Florence
    Josephine Harriet Beatrice Eleanor Penelope Matilda Priya Anjali Mei Ling Yuki Linh Fatima Layla""".split()
)
NICKNAMES: dict[str, tuple[str, ...]] = {
    "James": ("Jim", "Jimmy", "Jamie"),
    "Robert": ("Bob", "Rob", "Bobby"),
    "John": ("Johnny", "Jack"),
    "Michael": ("Mike", "Mick"),
    "David": ("Dave", "Davey"),
    "William": ("Bill", "Will", "Billy"),
    "Richard": ("Rick", "Dick", "Rich"),
    "Joseph": ("Joe", "Joey"),
    "Thomas": ("Tom", "Tommy"),
    "Christopher": ("Chris",),
    "Charles": ("Charlie", "Chuck"),
    "Daniel": ("Dan", "Danny"),
    "Matthew": ("Matt",),
    "Anthony": ("Tony",),
    "Donald": ("Don", "Donnie"),
    "Steven": ("Steve",),
    "Andrew": ("Andy", "Drew"),
    "Joshua": ("Josh",),
    "Kenneth": ("Ken", "Kenny"),
    "Timothy": ("Tim",),
    "Ronald": ("Ron", "Ronnie"),
    "Edward": ("Ed", "Eddie", "Ted"),
    "Jeffrey": ("Jeff",),
    "Jacob": ("Jake",),
    "Nicholas": ("Nick",),
    "Jonathan": ("Jon",),
    "Stephen": ("Steve",),
    "Benjamin": ("Ben",),
    "Samuel": ("Sam",),
    "Gregory": ("Greg",),
    "Alexander": ("Alex", "Xander"),
    "Patrick": ("Pat",),
    "Raymond": ("Ray",),
    "Nathan": ("Nate",),
    "Zachary": ("Zach",),
    "Douglas": ("Doug",),
    "Lawrence": ("Larry",),
    "Albert": ("Al", "Bert"),
    "Vincent": ("Vince",),
    "Bradley": ("Brad",),
    "Philip": ("Phil",),
    "Leonard": ("Len", "Lenny"),
    "Nathaniel": ("Nate",),
    "Theodore": ("Ted", "Theo"),
    "Frederick": ("Fred",),
    "Clifford": ("Cliff",),
    "Manuel": ("Manny",),
    "Patricia": ("Pat", "Patty", "Trish"),
    "Jennifer": ("Jen", "Jenny"),
    "Elizabeth": ("Liz", "Beth", "Betty"),
    "Barbara": ("Barb",),
    "Susan": ("Sue", "Susie"),
    "Jessica": ("Jess",),
    "Sandra": ("Sandy",),
    "Kimberly": ("Kim",),
    "Margaret": ("Maggie", "Peggy", "Meg"),
    "Amanda": ("Mandy",),
    "Melissa": ("Missy",),
    "Deborah": ("Deb", "Debbie"),
    "Stephanie": ("Steph",),
    "Rebecca": ("Becky", "Becca"),
    "Cynthia": ("Cindy",),
    "Dorothy": ("Dot", "Dottie"),
    "Kathleen": ("Kathy", "Kate"),
    "Angela": ("Angie",),
    "Pamela": ("Pam",),
    "Nicole": ("Nikki",),
    "Samantha": ("Sam",),
    "Katherine": ("Kate", "Kathy", "Katie"),
    "Christine": ("Chris", "Tina"),
    "Debra": ("Deb",),
    "Catherine": ("Cathy", "Kate"),
    "Victoria": ("Vicky", "Tori"),
    "Christina": ("Tina", "Chris"),
    "Virginia": ("Ginny",),
    "Jacqueline": ("Jackie",),
    "Teresa": ("Terri",),
    "Abigail": ("Abby",),
    "Kathryn": ("Kathy",),
    "Natalie": ("Nat",),
    "Allison": ("Allie",),
    "Valerie": ("Val",),
    "Josephine": ("Jo", "Josie"),
    "Eleanor": ("Ellie", "Nora"),
    "Penelope": ("Penny",),
    "Matilda": ("Tilly",),
    "Gabriela": ("Gabby",),
}
_COMMON_SURNAMES = """Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez
Gonzalez Wilson
    Anderson Thomas Taylor Moore Jackson Martin Lee Perez Thompson White Harris Sanchez Clark Ramirez Lewis Robinson
    Walker Young Allen King Wright Scott Torres Nguyen Hill Flores Green Adams Nelson Baker Hall Rivera Campbell
    Mitchell Carter Roberts Gomez Phillips Evans Turner Diaz Parker Cruz Edwards Collins Reyes Stewart Morris Morales
    Murphy Cook Rogers Gutierrez Ortiz Morgan Cooper Peterson Bailey Reed Kelly Howard Ramos Kim Cox Ward Richardson
    Watson Brooks Chavez Wood James Bennett Gray Mendoza Ruiz Hughes Price Alvarez Castillo Sanders Patel Myers Long
    Ross Foster Jimenez Powell Jenkins Perry Russell Sullivan Bell Coleman Butler Henderson Barnes Gonzales Fisher
    Vasquez Simmons Romero Jordan Patterson Alexander Hamilton Graham Reynolds Griffin Wallace Moreno West Cole Hayes
    Bryant Herrera Gibson Ellis Tran Medina Aguilar Stevens Murray Ford Castro Marshall Owens Harrison Fernandez
    McDonald Woods Washington Kennedy Wells Vargas Henry Chen Freeman Webb Tucker Guzman Burns Crawford Olson Simpson
    Porter Hunter Gordon Mendez Silva Shaw Snyder Mason Dixon Munoz Hunt Hicks Holmes Palmer Wagner Black Robertson
    Boyd Rose Stone Salazar Fox Warren Mills Meyer Rice Schmidt Garza Daniels Ferguson Nichols Stephens Soto Weaver
    Ryan Gardner Payne Grant Dunn Kelley Spencer Hawkins Arnold Pierce Hansen Peters Santos Hart Bradley Knight Elliott
    Cunningham Duncan Armstrong Hudson Carroll Lane Riley Andrews Alvarado Ray Delgado Berry Perkins Hoffman Johnston
    Matthews Pena Richards Contreras Willis Carpenter Lawrence Sandoval Guerrero George Chapman Rios Estrada Ortega
    Watkins Greene Nunez Wheeler Valdez Harper Burke Larson Santiago Maldonado Morrison Franklin Carlson Austin
    Dominguez Carr Lawson Jacobs OBrien Lynch Singh Vega Bishop Montgomery Oliver Jensen Harvey Williamson Gilbert Dean
    Sims Espinoza Howell Li Wong Reid Hanson Le McCoy Garrett Burton Fuller Wang Weber Welch Rojas Lucas Marquez Fields
    Park Yang Little Banks Padilla Day Walsh Bowman Schultz Luna Fowler Mejia"""
_FIRST_SYLLABLES = """Ash Black Brad Brook Clif Cran Dal East Elm Fair Fern Glen Grant Hal Hart Hazel Hollo Kings Lang
Lin Mar
    Mel New North Oak Pem Ray Red Rock Sher Stan Stock Sut Thorn Wake Wald West Whit Win Wood"""
_LAST_SYLLABLES = """berg born bridge brook burn bury by combe cott den dale field ford gate ham hurst land ley man
mere more
    ridge son stead ton wick well worth"""
SURNAMES = tuple(
    dict.fromkeys(
        [*_COMMON_SURNAMES.split(), *(a + b for a in _FIRST_SYLLABLES.split() for b in _LAST_SYLLABLES.split())]
    )
)
STREETS = tuple(
    """Main Oak Maple Cedar Pine Elm Washington Lake Hill Walnut Spring North Ridge Church Willow Mill Sunset Railroad
    Jefferson Center Highland Forest Jackson Franklin River Meadow Chestnut Broad Madison Adams Dogwood Hickory Laurel
    Locust Poplar Sycamore Birch Magnolia Juniper Aspen Cherry Peach Orchard Valley Prairie Canyon Mesa Harbor Bay
    Ocean Garden Park Grove Summit Lincoln Grant Monroe Harrison Cleveland Roosevelt Wilson Taylor Union Liberty Market
    Court College School Academy Mountain Creek Brook Fox Deer Eagle Falcon Heron Cardinal Robin Quail
    Pheasant""".split()
)
STREET_KINDS = ("St", "Ave", "Dr", "Rd", "Ln", "Ct", "Blvd", "Way", "Pl")
MAIL_DOMAINS = (
    "gmail.com",
    "yahoo.com",
    "hotmail.com",
    "outlook.com",
    "icloud.com",
    "aol.com",
    "comcast.net",
    "proton.me",
)
MAIL_SHARES = np.array([0.46, 0.17, 0.11, 0.09, 0.08, 0.04, 0.03, 0.02])
JUNK_NAMES = ("N/A", "Unknown", "TEST", "Customer", "-")
JUNK_EMAILS = ("test@test.com", "none@none.com", "noemail@example.com", "na@na.com")
JUNK_PHONES = ("0000000000", "9999999999", "1111111111", "N/A")


def rank_weights(count: int, exponent: float) -> np.ndarray:
    """Zipf probabilities of `count` ranks, most popular first, summing to one: Float64 [count]."""
    weights = 1.0 / np.arange(3.0, count + 3.0) ** exponent
    shares: np.ndarray = weights / weights.sum()
    return shares
