create schema mart;

create table mart.flights (
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

create materialized view mart.carrier_delays as
select carrier, count(*) as flights, round(avg(dep_delay), 1) as mean_delay
from mart.flights
group by carrier;

create unique index on mart.carrier_delays (carrier);
