package bigqueryfake

import (
	"sort"
	"strconv"
	"strings"
	"time"

	bq "google.golang.org/api/bigquery/v2"
)

func (f *Fake) datasetOf(d *dataset) *bq.Dataset {
	return &bq.Dataset{
		Kind: "bigquery#dataset", Id: f.opts.Project + ":" + d.id, Etag: etag(d.etag), Location: d.location,
		DatasetReference: &bq.DatasetReference{ProjectId: f.opts.Project, DatasetId: d.id},
		Description:      d.description, Labels: d.labels, CreationTime: d.created.UnixMilli(), LastModifiedTime: d.created.UnixMilli(),
	}
}

func (f *Fake) insertDataset(r *request) (any, *apiError) {
	var in bq.Dataset
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	if in.DatasetReference == nil {
		return nil, invalid("Required parameter is missing: datasetReference")
	}
	d := &dataset{id: in.DatasetReference.DatasetId, location: in.Location, description: in.Description, labels: in.Labels}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.addDataset(d); err != nil {
		return nil, err
	}
	return f.datasetOf(d), nil
}

func (f *Fake) listDatasets(*request) (any, *apiError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &bq.DatasetList{Kind: "bigquery#datasetList"}
	for _, d := range f.datasets {
		out.Datasets = append(out.Datasets, &bq.DatasetListDatasets{DatasetReference: f.datasetOf(d).DatasetReference, Labels: d.labels, Location: d.location})
	}
	sort.Slice(out.Datasets, func(i, k int) bool {
		return out.Datasets[i].DatasetReference.DatasetId < out.Datasets[k].DatasetReference.DatasetId
	})
	return out, nil
}

func (f *Fake) getDataset(r *request) (any, *apiError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, err := f.dataset(r.PathValue("dataset"))
	if err != nil {
		return nil, err
	}
	return f.datasetOf(d), nil
}

func (f *Fake) patchDataset(r *request) (any, *apiError) {
	var in bq.Dataset
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d, err := f.dataset(r.PathValue("dataset"))
	if err != nil {
		return nil, err
	}
	if err := r.match(d.etag); err != nil {
		return nil, err
	}
	if r.raw["description"] != nil {
		d.description = in.Description
	}
	if r.raw["labels"] != nil {
		d.labels = in.Labels
	}
	d.etag++
	return f.datasetOf(d), nil
}

func (f *Fake) deleteDataset(r *request) (any, *apiError) {
	f.mu.Lock()
	d, err := f.dataset(r.PathValue("dataset"))
	if err != nil {
		f.mu.Unlock()
		return nil, err
	}
	if len(d.tables) > 0 && r.URL.Query().Get("deleteContents") != "true" {
		f.mu.Unlock()
		return nil, &apiError{400, "resourceInUse", "Dataset " + f.opts.Project + ":" + d.id + " is still in use"}
	}
	delete(f.datasets, d.id)
	f.mu.Unlock()
	for _, t := range d.tables {
		if !t.isView() {
			if err := f.change(r.Context(), "DROP TABLE "+t.physical); err != nil {
				return nil, apiErrorOf(err)
			}
		}
	}
	return nil, nil
}

// tableOf is the table as the REST API has it. f.mu is held.
func (f *Fake) tableOf(t *table, rows int64) *bq.Table {
	out := &bq.Table{
		Kind: "bigquery#table", Id: f.opts.Project + ":" + t.dataset + "." + t.id, Etag: etag(t.etag), Type: "TABLE",
		TableReference: &bq.TableReference{ProjectId: f.opts.Project, DatasetId: t.dataset, TableId: t.id},
		Schema:         schemaOf(t.columns), Description: t.description, Labels: t.labels, Location: f.datasets[t.dataset].location,
		CreationTime: t.created.UnixMilli(), LastModifiedTime: uint64(t.modified.UnixMilli()), NumRows: uint64(rows),
		NumBytes: rows * 8 * int64(len(t.columns)),
	}
	if t.isView() {
		out.Type, out.View = "VIEW", &bq.ViewDefinition{Query: t.viewText}
	}
	if t.partition != nil {
		out.TimePartitioning = &bq.TimePartitioning{Type: t.partition.unit, Field: t.partition.column, ExpirationMs: t.partition.expireMs}
		out.RequirePartitionFilter = t.partition.requireFilter
	}
	if len(t.cluster) > 0 {
		out.Clustering = &bq.Clustering{Fields: t.cluster}
	}
	if len(t.key) > 0 {
		out.TableConstraints = &bq.TableConstraints{PrimaryKey: &bq.TableConstraintsPrimaryKey{Columns: t.key}}
	}
	if !t.expires.IsZero() {
		out.ExpirationTime = t.expires.UnixMilli()
	}
	return out
}

func (f *Fake) insertTable(r *request) (any, *apiError) {
	var in bq.Table
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	if in.TableReference == nil {
		return nil, invalid("Required parameter is missing: tableReference")
	}
	if in.View != nil || in.MaterializedView != nil || in.ExternalDataConfiguration != nil || in.RangePartitioning != nil {
		return nil, refused("only tables are made here; make a view by CREATE VIEW")
	}
	t := &table{dataset: r.PathValue("dataset"), id: in.TableReference.TableId, description: in.Description, labels: in.Labels}
	var err error
	if t.columns, err = columnsOf(in.Schema); err != nil {
		return nil, invalid("%s", err)
	}
	if p := in.TimePartitioning; p != nil {
		if p.Field == "" {
			return nil, refused("partitioning by ingestion time is not in its set")
		}
		t.partition = &partition{column: p.Field, unit: p.Type, expireMs: p.ExpirationMs, requireFilter: in.RequirePartitionFilter || p.RequirePartitionFilter}
	}
	if in.Clustering != nil {
		t.cluster = in.Clustering.Fields
	}
	if in.TableConstraints != nil && in.TableConstraints.PrimaryKey != nil {
		t.key = in.TableConstraints.PrimaryKey.Columns
	}
	if in.ExpirationTime > 0 {
		t.expires = time.UnixMilli(in.ExpirationTime)
	}
	if err := f.addTable(r.Context(), t, false, nil); err != nil {
		return nil, apiErrorOf(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tableOf(t, 0), nil
}

func (f *Fake) findTable(r *request) (*table, *apiError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tableAt(r.PathValue("dataset"), r.PathValue("table"))
}

func (f *Fake) getTable(r *request) (any, *apiError) {
	t, api := f.findTable(r)
	if api != nil {
		return nil, api
	}
	var rows int64
	if !t.isView() {
		var err error
		if rows, err = f.count(r.Context(), t); err != nil {
			return nil, apiErrorOf(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tableOf(t, rows), nil
}

// listTables gives a page: the service's have 50 tables unless more are asked for.
func (f *Fake) listTables(r *request) (any, *apiError) {
	start, most, api := paging(r)
	if api != nil {
		return nil, api
	}
	if most == 0 {
		most = 50
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d, err := f.dataset(r.PathValue("dataset"))
	if err != nil {
		return nil, err
	}
	out := &bq.TableList{Kind: "bigquery#tableList", TotalItems: int64(len(d.tables))}
	for _, t := range d.tables {
		full := f.tableOf(t, 0)
		out.Tables = append(out.Tables, &bq.TableListTables{TableReference: full.TableReference, Type: full.Type, Labels: t.labels})
	}
	sort.Slice(out.Tables, func(i, k int) bool {
		return out.Tables[i].TableReference.TableId < out.Tables[k].TableReference.TableId
	})
	out.Tables = out.Tables[min(start, len(out.Tables)):]
	if int64(len(out.Tables)) > most {
		out.Tables, out.NextPageToken = out.Tables[:most], strconv.Itoa(start+int(most))
	}
	return out, nil
}

// patchTable changes a table. A schema may only gain columns, at its end.
func (f *Fake) patchTable(r *request) (any, *apiError) {
	var in bq.Table
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	t, api := f.findTable(r)
	if api != nil {
		return nil, api
	}
	f.mu.Lock()
	api = r.match(t.etag)
	f.mu.Unlock()
	if api != nil {
		return nil, api
	}
	if api := f.mayChange(t); api != nil {
		return nil, api
	}
	if in.Schema != nil {
		if err := f.patchSchema(r, t, in.Schema); err != nil {
			return nil, apiErrorOf(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.raw["description"] != nil {
		t.description = in.Description
	}
	if r.raw["labels"] != nil {
		t.labels = in.Labels
	}
	if r.raw["expirationTime"] != nil {
		t.expires = time.Time{}
		if in.ExpirationTime > 0 {
			t.expires = time.UnixMilli(in.ExpirationTime)
		}
	}
	if in.TimePartitioning != nil && t.partition != nil {
		t.partition.expireMs = in.TimePartitioning.ExpirationMs
	}
	t.touch(f.now())
	return f.tableOf(t, 0), nil
}

func (f *Fake) patchSchema(r *request, t *table, schema *bq.TableSchema) error {
	columns, err := columnsOf(schema)
	if err != nil {
		return invalid("%s", err)
	}
	f.mu.Lock()
	have := append([]column(nil), t.columns...)
	f.mu.Unlock()
	if len(columns) < len(have) {
		return invalid("Provided Schema does not match Table %s:%s.%s. Field %s is missing in new schema", f.opts.Project, t.dataset, t.id, have[len(columns)].name)
	}
	for i, c := range columns {
		switch {
		case i >= len(have):
			if err := f.addColumn(r.Context(), t, c); err != nil {
				return err
			}
		case !strings.EqualFold(c.name, have[i].name) || c.typ != have[i].typ || c.required && !have[i].required:
			return invalid("Provided Schema does not match Table %s:%s.%s. Field %s has changed", f.opts.Project, t.dataset, t.id, have[i].name)
		default:
			f.mu.Lock()
			t.columns[i].description = c.description
			f.mu.Unlock()
		}
	}
	return nil
}

func (f *Fake) deleteTable(r *request) (any, *apiError) {
	t, api := f.findTable(r)
	if api != nil {
		return nil, api
	}
	if err := f.dropTable(r.Context(), t); err != nil {
		return nil, apiErrorOf(err)
	}
	return nil, nil
}

func (f *Fake) listRows(r *request) (any, *apiError) {
	t, api := f.findTable(r)
	if api != nil {
		return nil, api
	}
	if t.isView() {
		return nil, invalid("Cannot list a table of type VIEW.")
	}
	start, most, api := paging(r)
	if api != nil {
		return nil, api
	}
	conn, err := f.db.Conn(r.Context())
	if err != nil {
		return nil, apiErrorOf(err)
	}
	defer conn.Close()
	s := &session{Fake: f, conn: conn}
	f.ddl.RLock()
	defer f.ddl.RUnlock()
	rows, err := s.read(r.Context(), f.columnsOfTable(t), t.physical)
	if err != nil {
		return nil, apiErrorOf(err)
	}
	out := &bq.TableDataList{Kind: "bigquery#tableDataList", TotalRows: int64(len(rows.rows))}
	out.Rows, out.PageToken = rows.page(start, most, r.URL.Query().Get("formatOptions.useInt64Timestamp") == "true", f.opts.PageBytes)
	return out, nil
}
