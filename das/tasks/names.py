"""Common first names of TinyStories whose gender is unambiguous, most frequent first. Torch-free."""

from __future__ import annotations

GIRLS: tuple[str, ...] = (
    "Lily", "Lucy", "Mia", "Anna", "Sara", "Emma", "Amy", "Jane", "Molly", "Sally",
    "Daisy", "Ella", "Sue", "Mary", "Lisa", "Bella", "Lola", "Sophie", "Annie", "Susie",
    "Emily", "Lila", "Nina", "Maria", "Polly", "Clara", "Tina", "Julia", "Maya", "Kate",
)  # fmt: skip

BOYS: tuple[str, ...] = (
    "Tim", "Tom", "Ben", "Max", "Jack", "Timmy", "Billy", "Bob", "Joe", "John",
    "Mark", "Jim", "Peter", "Bobby", "Tommy", "Johnny", "Mike", "Jake", "Leo", "David",
    "Fred", "George", "Harry", "Jimmy", "Nick", "Andy", "Teddy", "Toby", "Henry", "Paul",
)  # fmt: skip
