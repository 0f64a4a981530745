//! Neighbouring frames of a flow joined into a super-frame.
