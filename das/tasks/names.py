"""First names with an unambiguous gender that small story models know: 42 of each, most frequent first. Torch-free.

Chosen from a longer list by one criterion, before any intervention was trained: two small TinyStories models prefer the
right pronoun by at least one logit in every prompt of `name_gender`.
"""

from __future__ import annotations

GIRLS: tuple[str, ...] = (
    "Lily", "Lucy", "Mia", "Anna", "Sara", "Emma", "Amy", "Jane", "Molly", "Sally",
    "Daisy", "Ella", "Sue", "Mary", "Lisa", "Lola", "Sophie", "Annie", "Susie", "Emily",
    "Lila", "Maria", "Polly", "Tina", "Julia", "Maya", "Lulu", "Kitty", "Ellie", "Olivia",
    "Abby", "Sarah", "Laura", "Linda", "Holly", "Lena", "Nora", "Amelia", "Isabella", "Jessica",
    "Sofia", "Lara",
)  # fmt: skip

BOYS: tuple[str, ...] = (
    "Tim", "Tom", "Ben", "Max", "Jack", "Timmy", "Billy", "Bob", "Joe", "John",
    "Mark", "Jim", "Peter", "Bobby", "Tommy", "Johnny", "Jake", "David", "Fred", "Harry",
    "Jimmy", "Nick", "Dave", "Freddy", "Jason", "Joey", "Josh", "Pete", "Ricky", "Rob",
    "Robby", "Roger", "Ryan", "Zack", "Scott", "Brian", "Carl", "Bill", "Bert", "Barry",
    "Sammy", "Jerry",
)  # fmt: skip
