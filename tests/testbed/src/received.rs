//! Reads what a collector prints: rotel's detailed debug log, which is the OpenTelemetry Collector's. Enters: that text, perhaps cut in the
//! middle of what is being printed just now. Leaves: log records, metrics and spans that stand in it; of the last metric and the last span
//! what is printed so far.
//!
//! The format escapes nothing. A text with line breaks is put together again, unless its lines look like the format's own; and what stands
//! inside a list or a map is left as it was printed. It never fails: what it does not know it passes over.

use std::collections::BTreeMap;

/// Attributes by key.
pub type Attributes = BTreeMap<String, Value>;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// True or false.
    Bool(bool),
    /// A list, a map, bytes or nothing, as it was printed: `Map(title:Str(t))`.
    Other(String),
}

impl Value {
    /// The string, when it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn parse(printed: &str) -> Self {
        let inner = |kind: &str| printed.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')');
        let other = || Self::Other(printed.to_owned());
        if let Some(text) = inner("Str") {
            return Self::Text(text.to_owned());
        }
        let int = inner("Int").and_then(|number| number.parse().ok()).map(Self::Int);
        let double = || inner("Double").and_then(|number| number.parse().ok()).map(Self::Double);
        let bool = || inner("Bool").and_then(|word| word.parse().ok()).map(Self::Bool);
        int.or_else(double).or_else(bool).unwrap_or_else(other)
    }
}

/// A log record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Attributes of the resource that it belongs to.
    pub resource: Attributes,
    /// Name and version of the instrumentation scope.
    pub scope: String,
    /// The schema of the scope's names.
    pub schema_url: String,
    /// When it happened.
    pub time_ns: u64,
    /// When it was seen.
    pub observed_time_ns: u64,
    /// The severity's name, as sent.
    pub severity_text: String,
    /// The severity's number, 1 to 24; 0 when it has none.
    pub severity_number: u32,
    /// The event's name.
    pub event_name: String,
    /// The body, when it has one.
    pub body: Option<Value>,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A metric of one export.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    /// Attributes of the resource that it belongs to.
    pub resource: Attributes,
    /// Name and version of the instrumentation scope.
    pub scope: String,
    /// The schema of the scope's names.
    pub schema_url: String,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// `Sum`, `Gauge`, `Histogram`.
    pub kind: String,
    /// `CUMULATIVE` or `DELTA`, when it has any.
    pub temporality: String,
    /// Its data points.
    pub points: Vec<Point>,
}

/// A data point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// Its attributes.
    pub attributes: Attributes,
    /// The value of a sum or gauge.
    pub value: Option<f64>,
    /// How much a histogram counted.
    pub count: Option<u64>,
    /// What a histogram added up to.
    pub sum: Option<f64>,
    /// Where a histogram's buckets end, but for the last.
    pub bounds: Vec<f64>,
    /// How many are in each of them.
    pub buckets: Vec<u64>,
}

/// A span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Attributes of the resource that it belongs to.
    pub resource: Attributes,
    /// Name and version of the instrumentation scope.
    pub scope: String,
    /// The schema of the scope's names.
    pub schema_url: String,
    /// Its trace, 32 hexadecimal digits.
    pub trace_id: String,
    /// The span above it, 16 digits; empty for a root.
    pub parent_id: String,
    /// Its own id, 16 digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `CLIENT`.
    pub kind: String,
    /// When it began.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// `UNSET`, `OK` or `ERROR`.
    pub status: String,
    /// Its attributes.
    pub attributes: Attributes,
}

/// All that was printed.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) records: Vec<Record>,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) spans: Vec<Span>,
}

/// To whom the next attributes belong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Owner {
    #[default]
    Nobody,
    Resource,
    Record,
    Point,
    Span,
}

/// A value that may go on in the next line.
#[derive(Debug)]
struct Open {
    /// None for a body.
    key: Option<String>,
    owner: Owner,
    printed: String,
}

/// What is known of the place in the text.
#[derive(Debug, Default)]
struct Place {
    resource: Attributes,
    scope: String,
    schema_url: String,
    record: Option<Record>,
    /// What is described is a span.
    is_span: bool,
    owner: Owner,
    open: Option<Open>,
}

impl Place {
    /// What is known of all that stands in the scope.
    fn scope(&self) -> (Attributes, String, String) {
        (self.resource.clone(), self.scope.clone(), self.schema_url.clone())
    }
}

/// How lines of the format begin, beside attributes (`     -> `). A line that begins otherwise belongs to the text before it.
const STARTS: [&str; 46] = [
    "ResourceLog #",
    "ResourceMetrics #",
    "ResourceSpans #",
    "Resource SchemaURL:",
    "Resource attributes:",
    "ScopeLogs #",
    "ScopeLogs SchemaURL:",
    "ScopeMetrics #",
    "ScopeMetrics SchemaURL:",
    "ScopeSpans #",
    "ScopeSpans SchemaURL:",
    "InstrumentationScope ",
    "LogRecord #",
    "ObservedTimestamp: ",
    "Timestamp: ",
    "StartTimestamp: ",
    "SeverityText: ",
    "SeverityNumber: ",
    "EventName: ",
    "Body: ",
    "Attributes:",
    "    Trace ID       : ",
    "    Span ID        : ",
    "Span #",
    "    Parent ID      : ",
    "    ID             : ",
    "    Name           : ",
    "    Kind           : ",
    "Start time: ",
    "End time: ",
    "    Status code    : ",
    "    Status message : ",
    "Flags: ",
    "Metric #",
    "Descriptor:",
    "NumberDataPoints #",
    "HistogramDataPoints #",
    "ExponentialHistogramDataPoints #",
    "SummaryDataPoints #",
    "Data point attributes:",
    "Value: ",
    "Count: ",
    "Sum: ",
    "ExplicitBounds #",
    "Buckets #",
    "\u{1b}[2m", // a line of rotel's own log
];

impl Received {
    /// Reads one output from its beginning. A line without its end is being printed just now.
    pub(crate) fn read(&mut self, output: &[u8]) {
        let output = String::from_utf8_lossy(output);
        let whole = output.rfind('\n').map_or("", |end| &output[..end]);
        let mut place = Place::default();
        for line in whole.split('\n') {
            self.line(&mut place, line);
        }
        self.close(&mut place);
        // A point that is still being printed has no figure yet.
        for metric in &mut self.metrics {
            metric.points.retain(|point| point.value.or(point.sum).is_some() || point.count.is_some());
        }
    }

    fn line(&mut self, place: &mut Place, line: &str) {
        let attribute = line.strip_prefix("     -> ");
        if attribute.is_none() && !STARTS.iter().any(|start| line.starts_with(start)) {
            if let Some(open) = &mut place.open {
                open.printed.push('\n');
                open.printed.push_str(line);
            }
            return;
        }
        self.close(place);
        match attribute {
            Some(attribute) => self.attribute(place, attribute),
            None => self.field(place, line),
        }
    }

    /// `key: Str(value)`, or a word of a metric's description.
    fn attribute(&mut self, place: &mut Place, attribute: &str) {
        let Some((key, value)) = attribute.split_once(": ") else { return };
        if place.owner != Owner::Nobody {
            let (key, printed) = (Some(key.to_owned()), value.to_owned());
            place.open = Some(Open { key, owner: place.owner, printed });
        } else if let Some(metric) = self.metrics.last_mut() {
            let field = match key {
                "Name" => &mut metric.name,
                "Unit" => &mut metric.unit,
                "DataType" => &mut metric.kind,
                "AggregationTemporality" => &mut metric.temporality,
                _ => return,
            };
            value.trim_start_matches("AGGREGATION_TEMPORALITY_").clone_into(field);
        }
    }

    fn field(&mut self, place: &mut Place, line: &str) {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let name = name.split(" #").next().unwrap_or(name).trim();
        place.owner = Owner::Nobody;
        match name {
            "ResourceLog" | "ResourceMetrics" | "ResourceSpans" => *place = Place::default(),
            "ScopeLogs" | "ScopeMetrics" | "ScopeSpans" => place.scope.clear(),
            "ScopeLogs SchemaURL" | "ScopeMetrics SchemaURL" | "ScopeSpans SchemaURL" => {
                value.clone_into(&mut place.schema_url);
            }
            "Attributes:" if place.is_span => place.owner = Owner::Span,
            "Span" => {
                let (resource, scope, schema_url) = place.scope();
                self.spans.push(Span { resource, scope, schema_url, ..Span::default() });
                place.is_span = true;
            }
            "Resource attributes:" => place.owner = Owner::Resource,
            "Attributes:" => place.owner = Owner::Record,
            "Data point attributes:" => place.owner = Owner::Point,
            "LogRecord" => {
                let (resource, scope, schema_url) = place.scope();
                place.record = Some(Record { resource, scope, schema_url, ..Record::default() });
            }
            "Metric" => {
                let (resource, scope, schema_url) = place.scope();
                self.metrics.push(Metric { resource, scope, schema_url, ..Metric::default() });
            }
            "NumberDataPoints" | "HistogramDataPoints" | "ExponentialHistogramDataPoints" | "SummaryDataPoints" => {
                if let Some(metric) = self.metrics.last_mut() {
                    metric.points.push(Point::default());
                }
            }
            "Body" => place.open = Some(Open { key: None, owner: Owner::Record, printed: value.to_owned() }),
            "Flags" => self.records.extend(place.record.take()),
            _ => {
                if let Some(scope) = line.strip_prefix("InstrumentationScope ") {
                    scope.trim_end().clone_into(&mut place.scope);
                } else if let Some(span) = self.spans.last_mut().filter(|_| place.is_span) {
                    span.set(name, value);
                } else if let Some(record) = &mut place.record {
                    record.set(name, value);
                } else if let Some(point) = self.metrics.last_mut().and_then(|metric| metric.points.last_mut()) {
                    point.set(name, value);
                }
            }
        }
    }

    /// The open value has ended.
    fn close(&mut self, place: &mut Place) {
        let Some(Open { key, owner, printed }) = place.open.take() else { return };
        let value = Value::parse(&printed);
        let Some(key) = key else {
            if let Some(record) = &mut place.record {
                record.body = (printed != "Empty").then_some(value);
            }
            return;
        };
        let point = self.metrics.last_mut().and_then(|metric| metric.points.last_mut());
        let attributes = match owner {
            Owner::Nobody => None,
            Owner::Resource => Some(&mut place.resource),
            Owner::Record => place.record.as_mut().map(|record| &mut record.attributes),
            Owner::Span => self.spans.last_mut().map(|span| &mut span.attributes),
            Owner::Point => point.map(|point| &mut point.attributes),
        };
        attributes.map(|attributes| attributes.insert(key, value));
    }
}

impl Record {
    fn set(&mut self, name: &str, value: &str) {
        match name {
            "ObservedTimestamp" => self.observed_time_ns = value.parse().unwrap_or(0),
            "Timestamp" => self.time_ns = value.parse().unwrap_or(0),
            "SeverityText" => value.clone_into(&mut self.severity_text),
            // SEVERITY_NUMBER_WARN(13)
            "SeverityNumber" => {
                let number = value.split_once('(').and_then(|(_, number)| number.strip_suffix(')'));
                self.severity_number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
            }
            "EventName" => value.clone_into(&mut self.event_name),
            _ => {}
        }
    }
}

impl Point {
    fn set(&mut self, name: &str, value: &str) {
        match name {
            "Value" => self.value = value.parse().ok(),
            "Count" => self.count = value.parse().ok(),
            "Sum" => self.sum = value.parse().ok(),
            "ExplicitBounds" => self.bounds.extend(value.parse::<f64>()),
            // `Buckets #7, Count: 1`.
            "Buckets" => self.buckets.extend(value.parse::<u64>()),
            _ => {}
        }
    }
}

impl Span {
    fn set(&mut self, name: &str, value: &str) {
        match name {
            "Trace ID" => value.clone_into(&mut self.trace_id),
            "Parent ID" => value.clone_into(&mut self.parent_id),
            "ID" => value.clone_into(&mut self.id),
            "Name" => value.clone_into(&mut self.name),
            "Kind" => value.trim_start_matches("SPAN_KIND_").clone_into(&mut self.kind),
            "Start time" => self.start_ns = value.parse().unwrap_or(0),
            "End time" => self.end_ns = value.parse().unwrap_or(0),
            "Status code" => value.trim_start_matches("STATUS_CODE_").clone_into(&mut self.status),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
