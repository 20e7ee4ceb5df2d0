//! One bounded call of a plugin: what it may import, what it may use, and how it ended.
//!
//! It knows the contract in `wit/`, and it alone knows WebAssembly. It must never know
//! HTTP, configurations or how many workspaces there are.
//!
//! | module | what it knows |
//! |---|---|
//! | [`admission`], [`grants`], [`digest`] | from a file to a plugin, or to a report that says why not |
//! | [`measure`] | a call taken apart, for the benchmark |
//! | [`plugin`], [`outcome`] | one call, and how it ended |
//! | [`runtime`] | the one engine of a process |
//! | [`sandbox`] | what bounds a call |
//! | [`capabilities`], [`comparisons`] | the contract's imports, one file an interface; passwords that wait to be compared |
//! | [`limits`], `meter`, [`host_call`] | what a call may use, and what it has used |
//! | [`turns`], [`breaker`] | how many calls run, and which plugins are left alone |
//! | [`contract`] | `wit/`, and the types generated from it |
//! | [`componentize()`] | from a core module to a component |
//! | [`regular_file`] | how a file is read that an operator names |
//!
//! What always holds: no instance serves a second call; the plugin reaches one
//! workspace and one caller, and cannot name others; a plugin that fails in any way has
//! decided nothing more: the call ends in an error, and every attempt stays counted.

pub mod admission;
pub mod breaker;
pub mod capabilities;
pub mod comparisons;
mod componentize;
pub mod contract;
pub mod digest;
pub mod grants;
pub mod host_call;
pub mod limits;
pub mod measure;
mod meter;
pub mod outcome;
pub mod plugin;
pub mod regular_file;
pub mod runtime;
pub mod sandbox;
pub mod turns;

pub use componentize::componentize;
