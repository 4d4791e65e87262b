create table public.airlines (
    carrier text primary key,
    name    text not null
);

create table public.flights (
    time_hour      timestamptz not null,
    carrier        text not null,
    flight         integer not null,
    tailnum        text,
    origin         text not null,
    dest           text not null,
    year           integer,
    month          integer,
    day            integer,
    dep_time       integer,
    sched_dep_time integer,
    dep_delay      integer,
    arr_time       integer,
    sched_arr_time integer,
    arr_delay      integer,
    air_time       integer,
    distance       integer not null,
    hour           integer,
    minute         integer,
    primary key (time_hour, carrier, flight)
);

-- What a log of events looks like: rows are only ever added, under a key that grows.
create table public.departures (
    id        bigint primary key,
    time_hour timestamptz not null,
    carrier   text not null,
    flight    integer not null,
    tailnum   text not null,
    origin    text not null,
    dest      text not null,
    dep_delay integer not null
);

comment on table public.departures is 'The flights of January that departed, numbered in the order of their time';
comment on table public.flights is 'Flights that were to depart from New York City in 2013 (nycflights13, CC0)';
comment on column public.flights.time_hour is 'The scheduled hour of departure';
comment on column public.flights.dep_delay is 'Minutes; negative is early; null was cancelled';
comment on column public.flights.distance is 'Miles';
