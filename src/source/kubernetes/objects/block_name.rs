//! What the custom resource of a block is called: its CIDR with `-` for each of `.`, `:` and `/`
//! (`libcalico-go/lib/names/cidr.go`). The CIDR is what the value says; the name is its key, and has to agree (J2), and
//! where the value cannot be read it still tells which addresses nothing is known of (J1).

use ipnet::IpNet;

/// The name of a block's object.
pub(super) fn of(cidr: &IpNet) -> String {
    cidr.to_string().replace(['.', ':', '/'], "-")
}

/// The one block whose object is called so.
pub(super) fn cidr(name: &str) -> Option<IpNet> {
    let (address, length) = name.rsplit_once('-')?;
    ['.', ':'].into_iter().find_map(|separator| {
        let address: String = address.chars().map(|it| if it == '-' { separator } else { it }).collect();
        format!("{address}/{length}").parse().ok().filter(|cidr| of(cidr) == name)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_that_of_one_block() {
        for (name, block) in [
            ("10-0-0-64-26", Some("10.0.0.64/26")),
            ("fd00-210--cc3c-ef32-708c-b6c0-122", Some("fd00:210::cc3c:ef32:708c:b6c0/122")),
            ("fd00---122", Some("fd00::/122")),
            ("010-0-0-64-26", None),
            ("10-0-0-64", None),
            ("10-0-0-64-33", None),
            ("FD00---122", None),
            ("", None),
            ("-", None),
            ("default", None),
        ] {
            assert_eq!(cidr(name), block.map(|it| it.parse().unwrap()), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_block_has_a_name_of_its_own(v4 in any::<u32>(), v6 in any::<u128>(), short in 0u8..=32, long in 0u8..=128) {
            let blocks = [
                IpNet::new(std::net::Ipv4Addr::from(v4).into(), short).unwrap().trunc(),
                IpNet::new(std::net::Ipv6Addr::from(v6).into(), long).unwrap().trunc(),
            ];
            for block in blocks {
                prop_assert_eq!(cidr(&of(&block)), Some(block));
            }
        }
    }
}
