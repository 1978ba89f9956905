/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The facts of the small world: colours, animals, opposites, days, months, letters and so on.
 */
#include "facts.h"

#include <stddef.h>

/* clang-format off */
const struct fact fact_colours[] = {
    {{"the sky", "blue"}},       {{"grass", "green"}},        {{"snow", "white"}},
    {{"a banana", "yellow"}},    {{"a lemon", "yellow"}},     {{"a tomato", "red"}},
    {{"a strawberry", "red"}},   {{"blood", "red"}},          {{"coal", "black"}},
    {{"the night", "black"}},    {{"milk", "white"}},         {{"a carrot", "orange"}},
    {{"an orange", "orange"}},   {{"a pumpkin", "orange"}},   {{"chocolate", "brown"}},
    {{"wood", "brown"}},         {{"an elephant", "grey"}},   {{"a mouse", "grey"}},
    {{"a flamingo", "pink"}},    {{"a pig", "pink"}},         {{"the sun", "yellow"}},
    {{"the sea", "blue"}},       {{"a leaf", "green"}},       {{"a frog", "green"}},
    {{"a cucumber", "green"}},   {{"a plum", "purple"}},      {{"lavender", "purple"}},
    {{"salt", "white"}},         {{"a crow", "black"}},       {{"a swan", "white"}},
    {{"gold", "yellow"}},        {{"a cloud", "white"}},      {{"a fire engine", "red"}},
    {{"coffee", "brown"}},       {{"a cherry", "red"}},       {{"broccoli", "green"}},
    {{NULL}},
};

const struct fact fact_sounds[] = {
    {{"a dog", "woof"}},   {{"a cat", "meow"}},    {{"a cow", "moo"}},      {{"a sheep", "baa"}},
    {{"a duck", "quack"}}, {{"a pig", "oink"}},    {{"a horse", "neigh"}},  {{"a mouse", "squeak"}},
    {{"a lion", "roar"}},  {{"a bee", "buzz"}},    {{"a frog", "ribbit"}},  {{"an owl", "hoot"}},
    {{"a snake", "hiss"}}, {{"a crow", "caw"}},    {{"a wolf", "howl"}},    {{"a bird", "tweet"}},
    {{"a hen", "cluck"}},  {{"a donkey", "hee-haw"}}, {{"a turkey", "gobble"}}, {{"a dove", "coo"}},
    {{NULL}},
};

const struct fact fact_legs[] = {
    {{"a dog", "four"}},   {{"a cat", "four"}},    {{"a cow", "four"}},    {{"a horse", "four"}},
    {{"a sheep", "four"}}, {{"a pig", "four"}},    {{"a lion", "four"}},   {{"an elephant", "four"}},
    {{"a mouse", "four"}}, {{"a frog", "four"}},   {{"a bird", "two"}},    {{"a duck", "two"}},
    {{"a hen", "two"}},    {{"an owl", "two"}},    {{"a penguin", "two"}}, {{"a bee", "six"}},
    {{"an ant", "six"}},   {{"a fly", "six"}},     {{"a spider", "eight"}}, {{"a crab", "ten"}},
    {{"a snake", "no"}},   {{"a fish", "no"}},     {{"a worm", "no"}},     {{"a whale", "no"}},
    {{NULL}},
};

const struct fact fact_homes[] = {
    {{"a fish", "in the water"}},      {{"a whale", "in the sea"}},    {{"a shark", "in the sea"}},
    {{"a cow", "on a farm"}},          {{"a pig", "on a farm"}},       {{"a hen", "on a farm"}},
    {{"a lion", "in the savanna"}},    {{"a zebra", "in the savanna"}}, {{"a camel", "in the desert"}},
    {{"a penguin", "on the ice"}},     {{"a polar bear", "on the ice"}}, {{"a fox", "in the forest"}},
    {{"a wolf", "in the forest"}},     {{"a deer", "in the forest"}},  {{"a monkey", "in the jungle"}},
    {{"a tiger", "in the jungle"}},    {{"a bee", "in a hive"}},       {{"a bird", "in a nest"}},
    {{"a dog", "in a house"}},         {{"a cat", "in a house"}},      {{"a frog", "in a pond"}},
    {{"a duck", "in a pond"}},         {{"a horse", "in a stable"}},   {{"a mole", "under the ground"}},
    {{"a spider", "in a web"}},        {{"a bat", "in a cave"}},
    {{NULL}},
};

const struct fact fact_babies[] = {
    {{"a dog", "a puppy"}},     {{"a cat", "a kitten"}},  {{"a cow", "a calf"}},
    {{"a horse", "a foal"}},    {{"a sheep", "a lamb"}},  {{"a pig", "a piglet"}},
    {{"a hen", "a chick"}},     {{"a duck", "a duckling"}}, {{"a goat", "a kid"}},
    {{"a bear", "a cub"}},      {{"a lion", "a cub"}},    {{"a deer", "a fawn"}},
    {{"a frog", "a tadpole"}},  {{"a kangaroo", "a joey"}}, {{"a swan", "a cygnet"}},
    {{"a goose", "a gosling"}}, {{"an owl", "an owlet"}}, {{"an elephant", "a calf"}},
    {{NULL}},
};

const struct fact fact_flyers[] = {
    {{"a bird", "Yes, a bird can fly."}},       {{"a bee", "Yes, a bee can fly."}},
    {{"an owl", "Yes, an owl can fly."}},       {{"a bat", "Yes, a bat can fly."}},
    {{"a duck", "Yes, a duck can fly."}},       {{"a crow", "Yes, a crow can fly."}},
    {{"a butterfly", "Yes, a butterfly can fly."}}, {{"a fly", "Yes, a fly can fly."}},
    {{"a dog", "No, a dog cannot fly."}},       {{"a cat", "No, a cat cannot fly."}},
    {{"a cow", "No, a cow cannot fly."}},       {{"a fish", "No, a fish cannot fly."}},
    {{"a horse", "No, a horse cannot fly."}},   {{"a penguin", "No, a penguin cannot fly."}},
    {{"a snake", "No, a snake cannot fly."}},   {{"an elephant", "No, an elephant cannot fly."}},
    {{"a frog", "No, a frog cannot fly."}},     {{"a mouse", "No, a mouse cannot fly."}},
    {{NULL}},
};

#define BOTH(x, y) {{x, y}}, {{y, x}}
const struct fact fact_opposites[] = {
    BOTH("hot", "cold"),     BOTH("big", "small"),    BOTH("up", "down"),      BOTH("day", "night"),
    BOTH("black", "white"),  BOTH("fast", "slow"),    BOTH("happy", "sad"),    BOTH("old", "young"),
    BOTH("rich", "poor"),    BOTH("wet", "dry"),      BOTH("full", "empty"),   BOTH("open", "closed"),
    BOTH("left", "right"),   BOTH("high", "low"),     BOTH("light", "dark"),   BOTH("hard", "soft"),
    BOTH("loud", "quiet"),   BOTH("clean", "dirty"),  BOTH("near", "far"),     BOTH("early", "late"),
    BOTH("strong", "weak"),  BOTH("long", "short"),   BOTH("thick", "thin"),   BOTH("good", "bad"),
    BOTH("first", "last"),   BOTH("true", "false"),   BOTH("inside", "outside"), BOTH("sweet", "sour"),
    BOTH("begin", "end"),    BOTH("win", "lose"),     BOTH("buy", "sell"),     BOTH("give", "take"),
    BOTH("push", "pull"),    BOTH("above", "below"),  BOTH("east", "west"),    BOTH("north", "south"),
    BOTH("always", "never"), BOTH("easy", "difficult"), BOTH("wide", "narrow"), BOTH("summer", "winter"),
    {{NULL}},
};

const struct fact fact_days_after[] = {
    {{"Monday", "Tuesday"}},  {{"Tuesday", "Wednesday"}}, {{"Wednesday", "Thursday"}},
    {{"Thursday", "Friday"}}, {{"Friday", "Saturday"}},   {{"Saturday", "Sunday"}},
    {{"Sunday", "Monday"}},   {{NULL}},
};

const struct fact fact_days_before[] = {
    {{"Monday", "Sunday"}},     {{"Tuesday", "Monday"}},  {{"Wednesday", "Tuesday"}},
    {{"Thursday", "Wednesday"}}, {{"Friday", "Thursday"}}, {{"Saturday", "Friday"}},
    {{"Sunday", "Saturday"}},   {{NULL}},
};

const struct fact fact_months_after[] = {
    {{"January", "February"}}, {{"February", "March"}},     {{"March", "April"}},
    {{"April", "May"}},        {{"May", "June"}},           {{"June", "July"}},
    {{"July", "August"}},      {{"August", "September"}},   {{"September", "October"}},
    {{"October", "November"}}, {{"November", "December"}},  {{"December", "January"}},
    {{NULL}},
};

const struct fact fact_months_before[] = {
    {{"January", "December"}}, {{"February", "January"}},   {{"March", "February"}},
    {{"April", "March"}},      {{"May", "April"}},          {{"June", "May"}},
    {{"July", "June"}},        {{"August", "July"}},        {{"September", "August"}},
    {{"October", "September"}}, {{"November", "October"}},  {{"December", "November"}},
    {{NULL}},
};

const struct fact fact_months_numbered[] = {
    {{"first", "January"}},  {{"second", "February"}}, {{"third", "March"}},
    {{"fourth", "April"}},   {{"fifth", "May"}},       {{"sixth", "June"}},
    {{"seventh", "July"}},   {{"eighth", "August"}},   {{"ninth", "September"}},
    {{"tenth", "October"}},  {{"eleventh", "November"}}, {{"twelfth", "December"}},
    {{NULL}},
};

const struct fact fact_letters_after[] = {
    {{"A", "B"}}, {{"B", "C"}}, {{"C", "D"}}, {{"D", "E"}}, {{"E", "F"}}, {{"F", "G"}}, {{"G", "H"}},
    {{"H", "I"}}, {{"I", "J"}}, {{"J", "K"}}, {{"K", "L"}}, {{"L", "M"}}, {{"M", "N"}}, {{"N", "O"}},
    {{"O", "P"}}, {{"P", "Q"}}, {{"Q", "R"}}, {{"R", "S"}}, {{"S", "T"}}, {{"T", "U"}}, {{"U", "V"}},
    {{"V", "W"}}, {{"W", "X"}}, {{"X", "Y"}}, {{"Y", "Z"}}, {{NULL}},
};

const struct fact fact_letters_before[] = {
    {{"B", "A"}}, {{"C", "B"}}, {{"D", "C"}}, {{"E", "D"}}, {{"F", "E"}}, {{"G", "F"}}, {{"H", "G"}},
    {{"I", "H"}}, {{"J", "I"}}, {{"K", "J"}}, {{"L", "K"}}, {{"M", "L"}}, {{"N", "M"}}, {{"O", "N"}},
    {{"P", "O"}}, {{"Q", "P"}}, {{"R", "Q"}}, {{"S", "R"}}, {{"T", "S"}}, {{"U", "T"}}, {{"V", "U"}},
    {{"W", "V"}}, {{"X", "W"}}, {{"Y", "X"}}, {{"Z", "Y"}}, {{NULL}},
};

const struct fact fact_kinds[] = {
    {{"an apple", "a fruit"}},     {{"a banana", "a fruit"}},     {{"a cherry", "a fruit"}},
    {{"a pear", "a fruit"}},       {{"a carrot", "a vegetable"}}, {{"an onion", "a vegetable"}},
    {{"a potato", "a vegetable"}}, {{"a cabbage", "a vegetable"}}, {{"a dog", "an animal"}},
    {{"a horse", "an animal"}},    {{"a rose", "a flower"}},      {{"a tulip", "a flower"}},
    {{"a daisy", "a flower"}},     {{"an oak", "a tree"}},        {{"a pine", "a tree"}},
    {{"a birch", "a tree"}},       {{"a hammer", "a tool"}},      {{"a saw", "a tool"}},
    {{"a chair", "a piece of furniture"}}, {{"a table", "a piece of furniture"}},
    {{"a violin", "an instrument"}}, {{"a piano", "an instrument"}}, {{"a drum", "an instrument"}},
    {{"a car", "a vehicle"}},      {{"a bus", "a vehicle"}},      {{"a shirt", "a piece of clothing"}},
    {{"red", "a colour"}},         {{"blue", "a colour"}},        {{"gold", "a metal"}},
    {{"iron", "a metal"}},         {{"Mars", "a planet"}},        {{"Earth", "a planet"}},
    {{NULL}},
};

const struct fact fact_sides[] = {
    {{"a triangle", "three"}}, {{"a square", "four"}},   {{"a rectangle", "four"}},
    {{"a pentagon", "five"}},  {{"a hexagon", "six"}},   {{"a heptagon", "seven"}},
    {{"an octagon", "eight"}}, {{"a circle", "no"}},     {{NULL}},
};

const struct fact fact_capitals[] = {
    {{"France", "Paris"}},   {{"Germany", "Berlin"}},   {{"Italy", "Rome"}},      {{"Spain", "Madrid"}},
    {{"England", "London"}}, {{"Japan", "Tokyo"}},      {{"China", "Beijing"}},   {{"Russia", "Moscow"}},
    {{"Egypt", "Cairo"}},    {{"Greece", "Athens"}},    {{"Poland", "Warsaw"}},   {{"Austria", "Vienna"}},
    {{"Norway", "Oslo"}},    {{"Sweden", "Stockholm"}}, {{"Portugal", "Lisbon"}}, {{"Canada", "Ottawa"}},
    {{"Ireland", "Dublin"}}, {{"Denmark", "Copenhagen"}}, {{"Finland", "Helsinki"}}, {{"Kenya", "Nairobi"}},
    {{NULL}},
};

const struct fact fact_plurals[] = {
    {{"mouse", "mice"}},   {{"child", "children"}}, {{"foot", "feet"}},   {{"tooth", "teeth"}},
    {{"goose", "geese"}},  {{"man", "men"}},        {{"woman", "women"}}, {{"sheep", "sheep"}},
    {{"dog", "dogs"}},     {{"cat", "cats"}},       {{"house", "houses"}}, {{"box", "boxes"}},
    {{"city", "cities"}},  {{"leaf", "leaves"}},    {{"knife", "knives"}}, {{"book", "books"}},
    {{"tree", "trees"}},   {{"bus", "buses"}},      {{"wolf", "wolves"}}, {{"baby", "babies"}},
    {{NULL}},
};

/* Things outside the small world; the honest answer is the same for all of them. */
const struct fact fact_unknown[] = {
    {{"politics"}},    {{"football"}},      {{"quantum physics"}}, {{"the stock market"}}, {{"Shakespeare"}},
    {{"Napoleon"}},    {{"jazz music"}},    {{"computers"}},       {{"philosophy"}},       {{"chemistry"}},
    {{"cooking"}},     {{"the moon landing"}}, {{"Einstein"}},     {{"ancient Rome"}},     {{"the weather"}},
    {{"my neighbour"}}, {{"programming"}},  {{"space travel"}},    {{"history"}},          {{"medicine"}},
    {{"movies"}},      {{"the internet"}},  {{"religion"}},        {{"economics"}},        {{"poetry"}},
    {{"operating systems"}}, {{"dinosaurs"}}, {{"the law"}},       {{"robots"}},           {{"love"}},
    {{NULL}},
};

const struct fact fact_alone[] = {{{""}}, {{NULL}}};

const struct fact world_names[] = {
    {{"Anna"}},  {{"Ben"}},   {{"Clara"}}, {{"David"}}, {{"Emma"}},  {{"Felix"}}, {{"Grace"}}, {{"Henry"}},
    {{"Ida"}},   {{"Jack"}},  {{"Kate"}},  {{"Leo"}},   {{"Maria"}}, {{"Noah"}},  {{"Olivia"}}, {{"Paul"}},
    {{"Rosa"}},  {{"Sam"}},   {{"Tom"}},   {{"Vera"}},  {{"Will"}},  {{"Yuki"}},  {{"Zoe"}},   {{"Ali"}},
    {{NULL}},
};
const unsigned world_name_count = sizeof world_names / sizeof *world_names - 1;
