//! Header fields, points, boxes and sets of packets.
