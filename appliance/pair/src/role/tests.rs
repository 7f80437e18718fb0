//! What a node does, by table and by scene.

mod duo;
mod scenes;
mod solo;
mod table;
