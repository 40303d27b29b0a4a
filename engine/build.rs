//! Tells the tests whether the real data are at hand: without `SENDLIFT_REAL_DATA` they are reported as ignored.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(real_data)");
    println!("cargo::rerun-if-env-changed=SENDLIFT_REAL_DATA");
    if std::env::var_os("SENDLIFT_REAL_DATA").is_some() {
        println!("cargo::rustc-cfg=real_data");
    }
}
