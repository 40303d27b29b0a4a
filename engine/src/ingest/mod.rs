//! Logs in: from a vendor's file to validated rows in the store, exactly once.
//!
//! - [`input`] finds the files and sees through compression; [`read`] turns a file into chunks of raw rows;
//! - [`mapping`] says which of the file's columns is which canonical one (a preset is such a mapping in the binary);
//! - [`times`] and [`identity`] parse moments and hash phone numbers and addresses;
//! - [`validate`] turns a raw chunk into canonical rows and rejected rows;
//! - [`load`] carries chunks to the store and commits.
//!
//! **Architecture invariant:** a bad row is data with a reason, never an error that stops the file, and never lost.

pub mod identity;
pub mod input;
pub mod load;
pub mod mapping;
pub mod read;
pub mod times;
pub mod validate;
