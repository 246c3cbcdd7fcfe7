// Makes the replica set, and customers of the shop; a second run changes nothing.
try {
  rs.status();
} catch (e) {
  rs.initiate({_id: "rs0", members: [{_id: 0, host: "mongodb:27017"}]});
}
while (!db.hello().isWritablePrimary) sleep(200);

const shop = db.getSiblingDB("shop");
if (!shop.getCollectionNames().includes("customers")) {
  // With images of before and after, every change of a document is known whole.
  shop.createCollection("customers", {changeStreamPreAndPostImages: {enabled: true}});
}
if (shop.customers.countDocuments() === 0) {
  const countries = ["AT", "CH", "DE", "FR", "IT"];
  const customers = [];
  for (let id = 1; id <= 500; id++) {
    customers.push({
      _id: id, name: `customer ${id}`, address: {country: countries[id % countries.length], city: `city ${id % 40}`},
      since: new Date(Date.UTC(2020, id % 60, 1 + (id % 28))),
    });
  }
  shop.customers.insertMany(customers);
}
