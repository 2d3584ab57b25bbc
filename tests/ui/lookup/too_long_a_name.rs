use shard_runtime::Sharded;

#[derive(Sharded, Clone, Debug)]
struct User {
    #[id]
    id: i64,
    #[shard_key(hash)]
    tenant: i64,
    #[lookup]
    the_address_that_mail_is_sent_to_if_there_is_one: String,
}

fn main() {}
