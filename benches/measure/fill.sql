-- Values in TPC-H's ranges, the same on every machine: products of the row's number instead of chance.
insert into public.lineitem
select g / 4 + 1,
       (g * 7919) % 200000 + 1,
       (g * 104729) % 10000 + 1,
       g % 7 + 1,
       (g * 31) % 50 + 1,
       ((g * 6700417) % 10404950 + 90000) / 100.0,
       ((g * 17) % 11) / 100.0,
       ((g * 13) % 9) / 100.0,
       (array['A', 'N', 'R'])[(g * 5) % 3 + 1],
       (array['F', 'O'])[(g * 3) % 2 + 1],
       date '1992-01-02' + ((g * 97) % 2526)::integer,
       date '1992-01-31' + ((g * 101) % 2466)::integer,
       date '1992-01-04' + ((g * 103) % 2554)::integer,
       (array['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'])[(g * 11) % 4 + 1],
       (array['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'])[(g * 19) % 7 + 1],
       substr(words.text, ((g * 89) % 200 + 1)::integer, ((g * 29) % 34 + 10)::integer)
from generate_series(1::bigint, {rows}) g,
     (select repeat('carefully final deposits sleep furiously among the ironic, regular accounts; ', 4)) words(text);
