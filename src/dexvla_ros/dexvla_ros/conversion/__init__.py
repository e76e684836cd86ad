"""From bags to a LeRobot dataset, without drift.

A bag's messages go through the very functions that the live nodes call: `messages/` makes arrays of them,
`ObservationAssembler` puts together what belongs together, `CommandHistory` reads the commanded action off
the trajectories; the robot file drives all of them. What is added here is the choice of frames at the
dataset's rate, and the search for holes. Nothing is made up: where a message is missing, there is no frame.

A bag is read twice: once to decide which messages make up which frame (`alignment`), once for the images of those.
"""
