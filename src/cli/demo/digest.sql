select count(*), coalesce(sum(hashtextextended(
           row(time_hour, carrier, flight, tailnum, origin, dest, year, month, day, dep_time, sched_dep_time,
               dep_delay, arr_time, sched_arr_time, arr_delay, air_time, distance, hour, minute)::text, 0)::numeric), 0)::text
from {table}
