"""Two real servers under faults for a long time: is every answer right, and is nothing that was confirmed lost?"""
