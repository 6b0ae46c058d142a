//! Prints what a node tells about itself and its ring:
//! `cargo run -p jmx --example node -- 127.0.0.1 7199 [keyspace]`

use std::error::Error;

use jmx::Endpoint;
use jmx::cassandra::Cassandra;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = match arguments.next() {
        Some(port) => port.parse()?,
        None => 7199,
    };
    let keyspace = arguments.next();

    let node = Cassandra::connect(&Endpoint::new(host, port)).await?;
    println!("cluster      {}", node.cluster_name().await?);
    println!("version      {}", node.release_version().await?);
    println!("mode         {}", node.operation_mode().await?);
    println!("host id      {}", node.host_id().await?);
    println!(
        "place        {} {}",
        node.datacenter().await?,
        node.rack().await?
    );
    println!("partitioner  {}", node.partitioner().await?);
    println!("schema       {}", node.schema_version().await?);
    println!("schemas      {:?}", node.schema_versions().await?);
    println!("directories  {:?}", node.data_directories().await?);
    println!("tokens       {}", node.tokens().await?.join(","));
    println!("keyspaces    {}", node.keyspaces().await?.join(" "));
    for table in node.tables().await? {
        println!("table        {}.{}", table.keyspace, table.table);
    }
    for snapshot in node.snapshots().await? {
        println!("snapshot     {snapshot:?}");
    }
    let ring = node.ring(keyspace.as_deref()).await?;
    println!("ring         {:?}", ring.ownership);
    for member in ring.members {
        println!("member       {member:?}");
    }
    node.close().await?;
    Ok(())
}
