// Makes the replica set, and a year of orders of the shop; a second run changes nothing.
try {
  rs.status();
} catch (e) {
  rs.initiate({_id: "rs0", members: [{_id: 0, host: "mongodb:27017"}]});
}
while (!db.hello().isWritablePrimary) sleep(200);

const shop = db.getSiblingDB("shop");
if (!shop.getCollectionNames().includes("orders")) {
  // With images of before and after, every change of a document is known whole.
  shop.createCollection("orders", {changeStreamPreAndPostImages: {enabled: true}});
}
if (shop.orders.countDocuments() === 0) {
  const orders = [];
  const now = Date.now();
  for (let id = 1; id <= 20000; id++) {
    const quantity = 1 + (id % 3);
    orders.push({
      _id: NumberLong(id),
      customer: {id: NumberLong(1 + ((id * 7919) % 500))},
      item: {id: NumberLong(1 + ((id * 104729) % 200)), quantity: NumberInt(quantity)},
      total: NumberDecimal(`${quantity * (2 + (id % 90))}.99`),
      status: id % 20 === 0 ? "cancelled" : "paid",
      created_at: new Date(now - (20000 - id) * 26 * 60 * 1000),
    });
  }
  shop.orders.insertMany(orders);
}
