//! A super-frame cut into frames that fit the path.
